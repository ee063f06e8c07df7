"""template.yaml as CloudFormation gets it: translated from SAM, its references replaced by values.

Physical names are the stack's name and the logical one, `drift-retrain-Ledger`; so two readings of the template can be
compared, and a call that was made on a deployed stack can be held against them.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from local import ACCOUNT, REGION

ROOT = Path(__file__).resolve().parent.parent
STACK = "drift-retrain"
NOTHING = object()  # AWS::NoValue
# What the parameters without a default are here, and those that bring conditional resources to life.
EVERYTHING = {
    "XGBoostImageUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sagemaker-xgboost:3.2-0",
    "InitialDataUri": "s3://initial/first/",
    "NotificationEmail": "people@example.com",
    "Approvers": "2",
    "ApproverEmail": "first@example.com",
    "SecondApproverEmail": "second@example.com",
    "NativeMonitoringSchedule": "hourly",
    "NativeMonitoringRole": "monitors",
    "NativeDriftMetrics": "feature_baseline_drift_x",
    "CreateTrail": "true",
    "SubnetIds": "subnet-11111111",
    "SecurityGroupIds": "sg-11111111",
    "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
}
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": STACK,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/11111111-2222-3333-4444-555555555555",
    "AWS::NoValue": NOTHING,
}
ARNS = {
    "AWS::CloudWatch::Alarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::Events::Rule": "events:{region}:{account}:rule/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::KMS::Key": "kms:{region}:{account}:key/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::StepFunctions::StateMachine": "states:{region}:{account}:stateMachine:{name}",
}
# Types whose Ref is their ARN.
_BY_ARN = {"AWS::SNS::Topic", "AWS::StepFunctions::StateMachine"}


@cache
def source() -> dict[str, Any]:
    """template.yaml, as it is written."""
    from samcli.yamlhelper import yaml_parse

    read: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return read


def translated(template: Mapping[str, Any]) -> dict[str, Any]:
    """The CloudFormation template that SAM makes of `template`, which stays as it is."""
    import boto3
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)  # it warns of what nobody asked for
    written = copy.deepcopy(dict(template))
    for resource in [*written["Resources"].values(), {"Properties": written["Globals"]["Function"]}]:
        for key in ("CodeUri", "ContentUri", "DefinitionS3Location"):  # `sam package` puts them on S3
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://bucket/key"
    made: dict[str, Any] = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION)).translate(
        written, {**EVERYTHING}
    )
    return made


def resolved(template: Mapping[str, Any], **parameters: str) -> dict[str, dict[str, Any]]:
    """The resources that a deployment of the translated template has, by logical id, with values for references."""
    return _Values(template, {**EVERYTHING, **parameters}).resources()


def arn(kind: str, logical: str) -> str:
    """The ARN of the stack's resource of that type."""
    name = f"{STACK}-{logical}".lower() if kind == "AWS::S3::Bucket" else f"{STACK}-{logical}"
    return "arn:aws:" + ARNS[kind].format(region=REGION, account=ACCOUNT, name=name)


class _Values:
    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self._template = template
        defaults = {name: str(item["Default"]) for name, item in template["Parameters"].items() if "Default" in item}
        self._parameters = {**defaults, **parameters}

    def resources(self) -> dict[str, dict[str, Any]]:
        there = {
            name: item
            for name, item in self._template["Resources"].items()
            if "Condition" not in item or self._holds(item["Condition"])
        }
        return {name: {**item, "Properties": self.value(item.get("Properties", {}))} for name, item in there.items()}

    def value(self, item: Any) -> Any:
        """The item with every intrinsic function replaced by its value."""
        if isinstance(item, list):
            return [made for entry in item if (made := self.value(entry)) is not NOTHING]
        if not isinstance(item, dict):
            return item
        if len(item) == 1:
            [(function, argument)] = item.items()
            if function == "Ref":
                return self._ref(argument)
            if function.startswith("Fn::"):
                return getattr(self, f"_{function.removeprefix('Fn::').lower()}")(argument)
        return {name: made for name, entry in item.items() if (made := self.value(entry)) is not NOTHING}

    def _ref(self, name: str) -> Any:
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self._parameters:
            return self._parameters[name]
        kind = self._template["Resources"][name]["Type"]
        return self._arn(name) if kind in _BY_ARN else self._name(name)

    def _name(self, logical: str) -> str:
        kind = self._template["Resources"][logical]["Type"]
        return f"{STACK}-{logical}".lower() if kind == "AWS::S3::Bucket" else f"{STACK}-{logical}"

    def _arn(self, logical: str) -> str:
        return arn(self._template["Resources"][logical]["Type"], logical)

    def _getatt(self, path: str | list[str]) -> Any:
        logical, _, attribute = path.partition(".") if isinstance(path, str) else (path[0], "", path[1])
        item = self._template["Resources"][logical]
        if attribute == "Arn":
            return self._arn(logical)
        if attribute == "ModelPackageGroupArn":
            group = self.value(item["Properties"]["ModelPackageGroupName"])
            return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package-group/{group}"
        if attribute in {"Name", "QueueName"}:
            return self._name(logical)
        return f"{logical}.{attribute}"  # what a custom resource answers

    def _sub(self, argument: str | list[Any]) -> str:
        text, given = (argument, {}) if isinstance(argument, str) else argument
        own = {name: self.value(item) for name, item in given.items()}

        def known(found: re.Match[str]) -> str:
            name = found[1]
            if name in own:
                return str(own[name])
            return str(self._getatt(name) if "." in name else self._ref(name))

        return re.sub(r"\$\{([\w.:]+)\}", known, text)

    def _select(self, argument: list[Any]) -> Any:
        return self.value(argument[1])[int(argument[0])]

    def _split(self, argument: list[Any]) -> list[str]:
        return str(self.value(argument[1])).split(argument[0])

    def _join(self, argument: list[Any]) -> str:
        return str(argument[0]).join(str(part) for part in self.value(argument[1]))

    def _if(self, argument: list[Any]) -> Any:
        return self.value(argument[1 if self._holds(argument[0]) else 2])

    def _holds(self, name: str) -> bool:
        return bool(self._decide(self._template["Conditions"][name]))

    def _decide(self, condition: Any) -> bool:
        [(function, argument)] = condition.items()
        if function == "Condition":
            return self._holds(argument)
        if function == "Fn::Equals":
            left, right = (str(self.value(side)) for side in argument)
            return left == right
        decided = [self._decide(part) for part in argument]
        return {"Fn::Not": not decided[0], "Fn::And": all(decided), "Fn::Or": any(decided)}[function]
