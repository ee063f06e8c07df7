"""House rules, on the template as CloudFormation gets it: translated from SAM."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from local import ACCOUNT, REGION, reference
from local.policies import Call, allows, grants, roles
from local.template import resolved
from local.template import source as written
from local.template import translated as made_of
from retrain.episode.closing import LONGEST_CALL
from retrain.episode.sweeping import EVERY
from retrain.pipeline.definition import CANDIDATE_JOBS, definition
from retrain.pipeline.publishing import WATCHED_FOR_SILENCE

ROOT = Path(__file__).parents[2]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
HANDLERS = sorted(file.stem for file in (ROOT / "src" / "handlers").glob("*.py") if file.stem != "__init__")
Resource = dict[str, Any]


@cache
def translated() -> dict[str, Resource]:
    source = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in source["Resources"].values():
        for key in ("CodeUri", "ContentUri", "DefinitionS3Location"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://bucket/key"
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    values = {"XGBoostImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"}
    translator = Translator({}, Parser())
    result: dict[str, Resource] = translator.translate(source, values)["Resources"]
    return result


@cache
def built() -> Resource:
    """The whole of it, for local.template's reading."""
    return made_of(written())


def of_type(kind: str) -> dict[str, Resource]:
    return {name: item["Properties"] for name, item in translated().items() if item["Type"] == kind}


def functions() -> dict[str, Resource]:
    return of_type("AWS::Lambda::Function")


def statements() -> list[tuple[str, Resource]]:
    """Every statement of every policy that is attached to a role."""
    found = []
    for name, item in translated().items():
        properties = item.get("Properties", {})
        policies = [*properties.get("Policies", [])] if item["Type"] == "AWS::IAM::Role" else []
        if item["Type"] == "AWS::IAM::Policy":
            policies.append(properties)
        for policy in policies:
            written = policy["PolicyDocument"]["Statement"]
            found += [(name, each["Fn::If"][1] if "Fn::If" in each else each) for each in written]
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_each_handler_is_a_function_and_each_function_a_handler() -> None:
    assert sorted(item["Handler"].split(".")[1] for item in functions().values()) == HANDLERS


def test_every_function_has_a_role_of_its_own() -> None:
    roles = [json.dumps(item["Role"]) for item in functions().values()]
    assert len(set(roles)) == len(roles)


def test_every_function_is_traced_and_logs_json_into_a_group_of_its_own() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    for name, item in functions().items():
        assert item["TracingConfig"] == {"Mode": "Active"}
        assert item["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": {"Ref": f"{name}Logs"}}
        assert f"{name}Logs" in groups


def test_every_log_group_is_kept_for_a_time_and_encrypted() -> None:
    for item in of_type("AWS::Logs::LogGroup").values():
        assert item["RetentionInDays"] == {"Ref": "LogRetentionDays"}
        assert item["KmsKeyId"] == {"Fn::GetAtt": ["DataKey", "Arn"]}


def test_the_runtime_and_the_processor_are_parameters() -> None:
    assert TEMPLATE["Parameters"]["LambdaRuntime"]["Default"] == "python3.13"
    assert TEMPLATE["Parameters"]["Architecture"]["Default"] == "arm64"
    for item in functions().values():
        assert item["Runtime"] == {"Ref": "LambdaRuntime"}
        assert item["Architectures"] == [{"Ref": "Architecture"}]


def test_every_rule_retries_for_a_limited_time_and_keeps_what_it_cannot_deliver() -> None:
    rules = of_type("AWS::Events::Rule")
    assert len(rules) == 12
    for item in rules.values():
        for target in item["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["UndeliveredEvents", "Arn"]}}
            assert {"MaximumEventAgeInSeconds", "MaximumRetryAttempts"} == set(target["RetryPolicy"])


def test_every_rule_on_events_pins_source_type_and_account() -> None:
    for name, item in of_type("AWS::Events::Rule").items():
        if "EventPattern" in item:
            pattern = item["EventPattern"]
            assert {"source", "detail-type", "account"} <= set(pattern), name
            assert len(pattern["detail-type"]) == 1


def test_the_alarm_rule_names_the_alarm_and_no_prefix() -> None:
    [pattern] = [
        item["EventPattern"]
        for item in of_type("AWS::Events::Rule").values()
        if item.get("EventPattern", {}).get("source") == ["aws.cloudwatch"]
    ]
    native = {"Fn::If": ["HasNativeAlarm", {"Fn::GetAtt": ["NativeDriftAlarm", "Arn"]}, {"Ref": "AWS::NoValue"}]}
    named = [{"Fn::GetAtt": [name, "Arn"]} for name in ("DriftAlarm", "QualityAlarm")]
    assert pattern["resources"] == [*named, native]


def test_functions_called_by_events_keep_what_failed_for_good() -> None:
    kept = {item["FunctionName"]["Ref"]: item for item in of_type("AWS::Lambda::EventInvokeConfig").values()}
    assert set(kept) == {
        "AlarmHandler",
        "Approver",
        "DriftMonitor",
        "EpisodeCloser",
        "EpisodeSweeper",
        "QualityMonitor",
        "ReportWriter",
    }
    for item in kept.values():
        assert "OnFailure" in item["DestinationConfig"]


def test_every_end_of_an_execution_that_nobody_caught_reaches_the_closer() -> None:
    [pattern] = [
        item["EventPattern"]
        for item in of_type("AWS::Events::Rule").values()
        if item.get("EventPattern", {}).get("source") == ["aws.states"]
    ]
    assert pattern["detail"] == {
        "stateMachineArn": [{"Ref": "RetrainMachine"}],
        "status": ["FAILED", "TIMED_OUT", "ABORTED"],
    }


def test_the_sweep_comes_as_often_as_it_thinks() -> None:
    schedules = {
        name: item["ScheduleExpression"]
        for name, item in of_type("AWS::Events::Rule").items()
        if "ScheduleExpression" in item
    }
    assert schedules["EpisodeSweeperOnSchedule"] == f"rate({EVERY // timedelta(minutes=1)} minutes)"


def test_no_function_that_changes_the_endpoint_outlives_its_aborted_execution_for_longer_than_is_waited() -> None:
    assert timedelta(seconds=functions()["EndpointUpdater"]["Timeout"]) < LONGEST_CALL


def test_a_closed_episode_is_forgotten_and_nothing_else() -> None:
    [ledger] = of_type("AWS::DynamoDB::Table").values()
    assert ledger["TimeToLiveSpecification"] == {"AttributeName": "forget_at", "Enabled": True}


def test_every_queue_has_an_alarm_and_keeps_its_messages_for_two_weeks() -> None:
    watched = {
        dimension["Value"]["Fn::GetAtt"][0]
        for item in of_type("AWS::CloudWatch::Alarm").values()
        for dimension in item.get("Dimensions", [])
        if dimension["Name"] == "QueueName"
    }
    queues = of_type("AWS::SQS::Queue")
    assert watched == set(queues)
    for item in queues.values():
        assert item["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_permissions_to_call_a_function_name_their_caller() -> None:
    for name, item in of_type("AWS::Lambda::Permission").items():
        assert "SourceArn" in item, name


@pytest.mark.parametrize(("name", "statement"), statements())
def test_no_statement_has_a_wildcard_action_or_an_unexplained_wildcard_resource(name: str, statement: Resource) -> None:
    actions = as_list(statement["Action"])
    assert not [action for action in actions if "*" in action], name
    if "*" in as_list(statement["Resource"]):
        assert all(reference.granted_on_everything_only(action) for action in actions), name
    if "cloudwatch:PutMetricData" in actions:
        assert "cloudwatch:namespace" in json.dumps(statement["Condition"])


def test_roles_are_passed_by_name_and_to_sagemaker_only() -> None:
    passing = [(name, item) for name, item in statements() if "iam:PassRole" in as_list(item["Action"])]
    assert len(passing) == 5
    for name, statement in passing:
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}, name
        native = {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${NativeMonitoringRole}"}
        roles = [{"Fn::GetAtt": [role, "Arn"]} for role in ("JobRole", "IntakeRole", "EndpointRole")]
        assert statement["Resource"] in [*roles, native]


def test_a_job_may_write_the_outputs_of_its_steps_and_nothing_else() -> None:
    """Every output of the pipeline's jobs, and no folder more."""
    places = []
    for job in [step["Arguments"] for jobs in CANDIDATE_JOBS for step in definition(jobs)["Steps"]]:
        places += [each["S3Output"]["S3Uri"] for each in job.get("ProcessingOutputConfig", {}).get("Outputs", [])]
        if "OutputDataConfig" in job:
            places += [job["OutputDataConfig"]["S3OutputPath"], job["CheckpointConfig"]["S3Uri"]]
    outputs = {place["Std:Join"]["Values"][1] for place in places if "Std:Join" in place}
    assert [place for place in places if "Std:Join" not in place] == [{"Get": "Parameters.RowsUri"}] * 2
    written = [
        resource["Fn::Sub"]
        for statement in of_type("AWS::IAM::Role")["JobRole"]["Policies"][0]["PolicyDocument"]["Statement"]
        if statement["Action"] == "s3:PutObject"
        for resource in statement["Resource"]
    ]
    folders = {*outputs, "rows"}  # of the first model's window; those of others are in rows/
    below = [f"${{DataBucket.Arn}}/episodes/*/{name}/*" for name in folders]
    assert sorted(written) == sorted([*below, "${DataBucket.Arn}/rows/*"])


def test_sagemakers_roles_are_assumed_for_this_account_only() -> None:
    roles = of_type("AWS::IAM::Role")
    for name in ("JobRole", "EndpointRole"):
        [statement] = roles[name]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_every_bucket_is_private_versioned_encrypted_and_spoken_to_by_tls_only() -> None:
    policies = {
        item["Bucket"]["Ref"]: item["PolicyDocument"]["Statement"] for item in of_type("AWS::S3::BucketPolicy").values()
    }
    for name, item in of_type("AWS::S3::Bucket").items():
        assert all(item["PublicAccessBlockConfiguration"].values())
        assert len(item["PublicAccessBlockConfiguration"]) == 4
        assert item["VersioningConfiguration"] == {"Status": "Enabled"}
        assert item["BucketEncryption"]
        denied = [statement for statement in policies[name] if statement["Effect"] == "Deny"]
        assert denied[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert denied[0]["Action"] == "s3:*"


def test_messages_and_the_ledger_are_encrypted_with_the_stacks_key() -> None:
    key = {"Fn::GetAtt": ["DataKey", "Arn"]}
    assert all(item["KmsMasterKeyId"] == key for item in of_type("AWS::SQS::Queue").values())
    assert all(item["KmsMasterKeyId"] == {"Ref": "DataKey"} for item in of_type("AWS::SNS::Topic").values())
    [ledger] = of_type("AWS::DynamoDB::Table").values()
    assert ledger["SSESpecification"]["KMSMasterKeyId"] == key
    assert ledger["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert ledger["BillingMode"] == "PAY_PER_REQUEST"
    assert of_type("AWS::KMS::Key")["DataKey"]["EnableKeyRotation"] is True


def test_what_holds_data_outlives_the_stack() -> None:
    for name in ("DataKey", "DataBucket", "Ledger", "ModelPackages", "TrailBucket"):
        item = translated()[name]
        assert (item["DeletionPolicy"], item["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_endpoints_role_lives_as_long_as_the_endpoint_may() -> None:
    policies = [
        name
        for name, item in translated().items()
        if item["Type"] == "AWS::IAM::Policy" and {"Ref": "EndpointRole"} in item["Properties"]["Roles"]
    ]
    assert policies == ["EndpointRoleRunsContainers"]
    for name in ("EndpointRole", *policies):
        assert translated()[name]["DeletionPolicy"] == "Retain", "sam delete leaves the endpoint in service"


def test_every_rule_may_send_what_it_cannot_deliver_whatever_the_stack_is_called() -> None:
    [policy] = of_type("AWS::SQS::QueuePolicy").values()
    allowed = policy["PolicyDocument"]["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"]
    named = [item["Fn::If"][1] if "Fn::If" in item else item for item in allowed]
    assert sorted(item["Fn::GetAtt"][0] for item in named) == sorted(of_type("AWS::Events::Rule"))


def test_no_partition_is_written_out() -> None:
    for file in ("template.yaml", "statemachine/retrain.asl.json"):
        assert re.findall(r"arn:aws[\w-]*:", (ROOT / file).read_text()) == [], file


def test_the_stacks_that_samconfig_names_have_endpoints_of_their_own() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    endpoint = {}
    for name in ("default", "prod"):
        given = dict(item.split("=", 1) for item in config[name]["deploy"]["parameters"].get("parameter_overrides", []))
        endpoint[name] = given.get("EndpointName", TEMPLATE["Parameters"]["EndpointName"]["Default"])
    assert len(set(endpoint.values())) == len(endpoint)


@pytest.mark.parametrize("environment", ["default", "local", "prod"])
def test_samconfig_builds_for_what_it_deploys_to(environment: str) -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]

    def machine(step: str) -> list[str]:
        given = dict(item.split("=", 1) for item in config[step]["parameters"].get("parameter_overrides", []))
        return [given.get(name, TEMPLATE["Parameters"][name]["Default"]) for name in ("LambdaRuntime", "Architecture")]

    assert machine("build") == machine("deploy")


def test_the_publisher_looks_again_when_what_it_checks_has_changed() -> None:
    [properties] = [
        item for name, item in of_type("AWS::CloudFormation::CustomResource").items() if name == "PublishedPipeline"
    ]
    assert {"EndpointName", "LambdaRuntime", "Architecture"} <= set(properties)


def test_the_machine_is_traced_and_logs_no_execution_data() -> None:
    [machine] = of_type("AWS::StepFunctions::StateMachine").values()
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False


def test_a_task_token_in_an_executions_history_is_encrypted_with_the_stacks_key() -> None:
    """And who calls the machine, or is it, may use the key."""
    [machine] = of_type("AWS::StepFunctions::StateMachine").values()
    key = {"Fn::GetAtt": ["DataKey", "Arn"]}
    encryption = machine["EncryptionConfiguration"]
    assert (encryption["Type"], encryption["KmsKeyId"]) == ("CUSTOMER_MANAGED_KMS_KEY", key)
    for role in ("RetrainMachineRole", "AlarmHandlerRole", "ApproverRole", "EpisodeSweeperRole"):
        uses = [set(as_list(it["Action"])) for name, it in statements() if name == role and it["Resource"] == key]
        assert {"kms:Decrypt", "kms:GenerateDataKey"} in uses, role


def test_functions_time_out_before_the_states_that_call_them() -> None:
    states = json.loads((ROOT / "statemachine" / "retrain.asl.json").read_text())["States"]
    timeouts = {name: item["Timeout"] for name, item in functions().items()}
    for name, state in states.items():
        if state["Type"] == "Task" and isinstance(state["TimeoutSeconds"], int):
            called = re.sub(r"\$\{(\w+)Arn\}", r"\1", state["Arguments"]["FunctionName"])
            assert timeouts[called] < state["TimeoutSeconds"], name


def test_the_drift_alarm_watches_what_the_monitor_publishes() -> None:
    alarm = of_type("AWS::CloudWatch::Alarm")["DriftAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("DriftRetrain", "drift_harm")
    assert alarm["TreatMissingData"] == "notBreaching"
    quality = of_type("AWS::CloudWatch::Alarm")["QualityAlarm"]
    assert (quality["Namespace"], quality["MetricName"], quality["Threshold"]) == ("DriftRetrain", "quality_max", 1)
    assert quality["TreatMissingData"] == "notBreaching"


def test_a_monitor_that_is_silent_and_labels_that_never_come_are_told() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")
    for name, metric in (("SilenceAlarm", "rows_analyzed"), ("QualitySilenceAlarm", "answers_without_labels")):
        alarm = alarms[name]
        assert metric in WATCHED_FOR_SILENCE, "or it would be in ALARM before the first analysis"
        assert translated()[name]["DependsOn"] == "PublishedPipeline"
        assert (alarm["Namespace"], alarm["MetricName"]) == ("DriftRetrain", metric)
        assert alarm["TreatMissingData"] == "breaching"
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "Notifications"}]
        parameter = TEMPLATE["Parameters"][alarm["EvaluationPeriods"]["Ref"]]
        # CloudWatch looks back a day, or from a period of an hour on a week.
        assert parameter["MaxValue"] * alarm["Period"] <= (86_400 if alarm["Period"] < 3600 else 7 * 86_400)
    quality = alarms["QualitySilenceAlarm"]
    none = quality["Statistic"], quality["Threshold"], quality["ComparisonOperator"]
    assert none == ("Minimum", 1, "GreaterThanOrEqualToThreshold")
    parameters = TEMPLATE["Parameters"]
    needed = parameters["LabelDelayHours"]["Default"] + parameters["CooldownHours"]["Default"]
    assert parameters["QualitySilenceHours"]["Default"] > needed, "or each episode would end in an alarm"


def refused(**given: str) -> list[str]:
    """The template's rules that a deployment with these parameters breaks; it is refused then, and told why."""

    def holds(expression: Resource, given: dict[str, str]) -> bool:
        [(function, operands)] = expression.items()
        if function == "Fn::Not":
            return not holds(operands[0], given)
        if function == "Fn::Or":
            return any(holds(operand, given) for operand in operands)
        if function == "Fn::And":
            return all(holds(operand, given) for operand in operands)
        left, right = (given[side["Ref"]] if isinstance(side, dict) else side for side in operands)
        return left == right

    native = dict.fromkeys(("NativeMonitoringSchedule", "NativeMonitoringRole", "NativeDriftMetrics"), "")
    others = {"ApprovalMode": "auto", "NotificationEmail": "", "Rollout": "auto", "EndpointInstanceCount": "1"}
    others |= {"AutoApproveHours": "", "AutoApproveAWeek": "0", "AutoApproveGain": "0"}
    others |= {
        "SubnetIds": "",
        "SecurityGroupIds": "",
        "Approvers": "1",
        "ApproverEmail": "",
        "SecondApproverEmail": "",
    }
    others |= {"AutoApproveNewData": "true", "AdoptEndpoint": "false", "InitialDataUri": "", "CandidateJobs": "one"}
    values = {**native, **others, **given}
    return [
        name
        for name, rule in TEMPLATE["Rules"].items()
        if holds(rule["RuleCondition"], values)
        and not all(holds(assertion["Assert"], values) for assertion in rule["Assertions"])
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"AdoptEndpoint": "true", "InitialDataUri": "s3://b/m/"}, 0),
        ({"AdoptEndpoint": "true"}, 1),
        ({"AdoptEndpoint": "true", "InitialDataUri": "s3://b/m/", "CandidateJobs": "each"}, 1),
        ({"CandidateJobs": "each"}, 0),
    ],
)
def test_what_shall_be_adopted_has_to_be_known(given: dict[str, str], told: int) -> None:
    assert len(refused(**given)) == told


def test_approval_by_a_person_is_refused_where_nobody_would_be_asked() -> None:
    defaults = {name: TEMPLATE["Parameters"][name]["Default"] for name in ("ApprovalMode", "NotificationEmail")}
    assert refused(**defaults) == ["SomebodyIsAsked"], "the defaults ask for an address"
    assert refused(ApprovalMode="registry", NotificationEmail="ada@example.com") == []
    assert refused(ApprovalMode="registry", NotificationEmail="elsewhere") == []
    assert refused(ApprovalMode="registry", ApproverEmail="ada@example.com") == []
    assert refused(ApprovalMode="auto") == []
    assert refused(ApprovalMode="auto", AutoApproveNewData="false") == ["SomebodyIsAsked"]
    assert refused(ApprovalMode="auto", AutoApproveAWeek="2") == ["SomebodyIsAsked"], "people are asked then, too"
    pattern = TEMPLATE["Parameters"]["NotificationEmail"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, text) for text in ("", "elsewhere", "ada@example.com"))
    assert not re.fullmatch(pattern, "nowhere")


def test_two_approvers_have_two_links() -> None:
    ada, ben = "ada@example.com", "ben@example.com"
    assert refused(Approvers="2", ApproverEmail=ada, SecondApproverEmail=ben) == refused(ApproverEmail=ada) == []
    assert refused(Approvers="2") == [], "both in the registry"
    assert refused(Approvers="2", ApproverEmail=ada) == ["TwoApproversHaveTwoLinks"]
    assert refused(Approvers="2", ApproverEmail=ada, SecondApproverEmail=ada) == ["SecondApproverIsTheSecond"]
    assert refused(Approvers="2", SecondApproverEmail=ben) == ["SecondApproverIsTheSecond"]
    assert refused(ApproverEmail=ada, SecondApproverEmail=ben) == ["SecondApproverIsTheSecond"]


def test_the_approval_page_is_off_by_default_and_all_of_it_is_there_with_an_address() -> None:
    off, on = resolved(built(), ApproverEmail="", SecondApproverEmail="", Approvers="1"), resolved(built())
    page = {name for name, item in built()["Resources"].items() if "Approv" in item.get("Condition", "")}
    assert page == set(on) - set(off)
    assert page == {
        *("LinkKey", "FirstApprover", "SecondApprover", "ApproversPolicy", "ApproverSendsLinks"),
        *("ApprovalPage", "ApprovalPageRole", "ApprovalPageLogs"),
        *("ApprovalApi", "ApprovalApiStage", "ApprovalApiIntegration", "ApprovalApiMayAsk"),
        *("ApprovalApiShows", "ApprovalApiDecides"),
    }
    variables = off["Approver"]["Properties"]["Environment"]["Variables"]
    assert {variables[name] for name in ("APPROVER_TOPICS", "APPROVAL_PAGE_URL", "LINK_KEY_ARN")} == {""}


def test_links_are_made_by_the_approver_and_verified_by_the_page_and_the_page_touches_episodes_only() -> None:
    there = roles(built())
    makes = {(role, action) for role in there for grant in grants(there[role]) if "Mac" in (action := grant.action)}
    assert makes == {("ApproverRole", "kms:GenerateMac"), ("ApprovalPageRole", "kms:VerifyMac")}
    [key] = [item for item in of_type("AWS::KMS::Key").values() if item.get("KeySpec")]
    assert (key["KeySpec"], key["KeyUsage"]) == ("HMAC_256", "GENERATE_VERIFY_MAC")
    table = resolved(built())["ApprovalPage"]["Properties"]["Environment"]["Variables"]["LEDGER_TABLE"]
    for keys, may in ((["EPISODE#flights-1"], True), (["ENDPOINT#flights"], False), (["STACK"], False)):
        asked = Call(
            "ApprovalPageRole",
            "dynamodb:UpdateItem",
            f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}",
            {"dynamodb:LeadingKeys": keys},
        )
        assert allows(there["ApprovalPageRole"], asked) is may, keys


def test_whoever_calls_the_page_in_a_loop_is_slowed_down_and_its_address_is_in_no_log() -> None:
    [stage] = of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 5, "ThrottlingBurstLimit": 10}
    assert "AccessLogSettings" not in stage
    assert functions()["ApprovalPage"]["Timeout"] < 30, "API Gateway does not wait longer"


@pytest.mark.parametrize("rollout", ["canary", "linear"])
def test_steps_need_a_fleet(rollout: str) -> None:
    assert refused(Rollout=rollout) == ["StepsNeedAFleet"]
    assert refused(Rollout=rollout, EndpointInstanceCount="2") == []


def test_subnets_need_security_groups() -> None:
    assert refused(SubnetIds="subnet-12345678") == ["SubnetsHaveSecurityGroups"]
    assert refused(SubnetIds="subnet-12345678", SecurityGroupIds="sg-12345678") == []


def test_who_starts_jobs_and_endpoints_may_lend_the_key_to_aws_and_to_nobody_else() -> None:
    granting = [statement for _, statement in statements() if "kms:CreateGrant" in as_list(statement["Action"])]
    assert len(granting) == 4
    for statement in granting:
        assert statement["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        assert statement["Resource"] == {"Fn::GetAtt": ["DataKey", "Arn"]}


def test_what_belongs_to_a_native_schedule_is_refused_without_one() -> None:
    assert refused() == refused(NativeMonitoringSchedule="s", NativeMonitoringRole="r", NativeDriftMetrics="m") == []
    assert refused(NativeDriftMetrics="m") == ["NativeMetricsHaveASchedule"]
    assert refused(NativeMonitoringSchedule="s") == ["NativeScheduleHasARole"]


def test_what_native_model_monitor_needs_is_there_only_with_its_schedule() -> None:
    made = {name: item.get("Condition") for name, item in translated().items() if "Native" in name}
    assert made == {
        "EndpointUpdaterSwapsNativeBaseline": "HasNativeSchedule",
        "NativeDriftAlarm": "HasNativeAlarm",
    }
    for name, statement in statements():
        if "MonitoringSchedule" in json.dumps(statement["Action"]):
            assert name == "EndpointUpdaterSwapsNativeBaseline"
            assert statement["Resource"]["Fn::Sub"].endswith(":monitoring-schedule/${NativeMonitoringSchedule}")


@pytest.mark.parametrize(("count", "good"), [(0, True), (1, True), (5, True), (6, False)])
def test_up_to_five_native_metrics_are_taken(count: int, good: bool) -> None:
    given = ",".join(f"feature_baseline_drift_{number}" for number in range(count))
    assert bool(re.fullmatch(TEMPLATE["Parameters"]["NativeDriftMetrics"]["AllowedPattern"], given)) is good
    if given and good:  # what Fn::Select takes of the list that is repeated: each of them, and nothing else
        alarm = of_type("AWS::CloudWatch::Alarm")["NativeDriftAlarm"]
        chosen = []
        for metric in alarm["Metrics"][1:]:
            place, split = metric["MetricStat"]["Metric"]["MetricName"]["Fn::Select"]
            text = split["Fn::Split"][1]["Fn::Sub"].replace("${NativeDriftMetrics}", given)
            chosen.append(text.split(",")[place])
            assert metric["MetricStat"]["Period"] >= 3600
        assert set(chosen) == set(given.split(","))


def test_every_parameter_is_described_used_and_checked() -> None:
    text = (ROOT / "template.yaml").read_text()
    body = text[text.index("\nConditions:") :]
    for name, parameter in TEMPLATE["Parameters"].items():
        assert parameter["Description"], name
        assert re.search(rf"!Ref {name}\b|\$\{{{name}\}}", body), f"{name} does nothing"
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(parameter), name


def test_every_output_is_described() -> None:
    assert all(output["Description"] for output in TEMPLATE["Outputs"].values())


@pytest.mark.parametrize("there", [True, False])
def test_the_dashboard_is_json_and_shows_every_alarm_that_there_is(there: bool) -> None:
    [dashboard] = of_type("AWS::CloudWatch::Dashboard").values()
    text, conditional = dashboard["DashboardBody"]["Fn::Sub"]
    for name, choice in conditional.items():
        chosen = choice["Fn::If"][1 if there else 2]
        text = text.replace(f"${{{name}}}", chosen["Fn::Sub"] if there else chosen)
    body = json.loads(re.sub(r"\$\{([\w.:]+)\}", lambda found: found[1] if "Arn" in found[1] else "1", text))
    assert len(body["widgets"]) == 8
    shown = [arn.removesuffix(".Arn") for arn in body["widgets"][0]["properties"]["alarms"]]
    alarms = {name: item for name, item in translated().items() if item["Type"] == "AWS::CloudWatch::Alarm"}
    assert sorted(shown) == sorted(name for name, item in alarms.items() if there or "Condition" not in item)


def test_no_account_id_is_in_the_template() -> None:
    assert set(re.findall(r"\b\d{12}\b", (ROOT / "template.yaml").read_text())) == set()
    assert set(re.findall(r"\b\d{12}\b", (ROOT / "samconfig.toml").read_text())) <= {"000000000000"}


def test_every_function_is_built_by_the_makefile() -> None:
    targets = set(re.findall(r"^build-(\w+):", (ROOT / "src" / "Makefile").read_text(), re.M))
    made = {
        name
        for name, item in TEMPLATE["Resources"].items()
        if item["Type"] == "AWS::Serverless::Function" and item.get("Metadata", {}).get("BuildMethod") == "makefile"
    }
    assert targets == made == set(functions())


def test_functions_libraries_are_those_of_the_runtime_and_the_processor() -> None:
    parameters = TEMPLATE["Parameters"]
    for name in ("DriftMonitor", "QualityMonitor", "ReportWriter"):
        context = TEMPLATE["Resources"][name]["Metadata"]["ContextPath"]["Fn::Sub"]
        for runtime in parameters["LambdaRuntime"]["AllowedValues"]:
            for architecture in parameters["Architecture"]["AllowedValues"]:
                folder = ROOT / context.replace("${LambdaRuntime}", runtime).replace("${Architecture}", architecture)
                said = (folder / "Makefile").read_text()
                assert said == f"RUNTIME := {runtime}\nARCHITECTURE := {architecture}\ninclude Makefile\n"
