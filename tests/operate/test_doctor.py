"""What the doctor finds, and what it says against it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from retrain.__main__ import main
from retrain.operate import doctor, words

IMAGE = "000000000000.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:3.2-0"


def levels(**parameters: str) -> dict[str, str]:
    return {finding.check: finding.level for finding in doctor.consistency(parameters)}


def test_the_templates_defaults_are_consistent() -> None:
    assert levels() == {"parameters": "ok"}


@pytest.mark.parametrize(
    ("parameters", "check"),
    [
        ({"LabelDelayHours": "96", "LabelWaitHours": "48", "QualitySilenceHours": "0"}, "labels in time"),
        ({"LabelDelayHours": "1", "LabelWaitHours": "0", "WindowHours": "2"}, "labels in time"),
        ({"MonitorSchedule": "rate(1 day)"}, "silence"),
        ({"QualitySilenceHours": "24"}, "silence of labels"),
        ({"RetrainingEnabled": "false"}, "kill switch"),
        ({"KeepDataDays": "3"}, "lifecycle"),
        ({"KeepDataDays": "1"}, "lifecycle"),
    ],
)
def test_parameters_that_contradict_each_other_are_found_with_a_remedy(parameters: Any, check: str) -> None:
    [finding] = doctor.consistency(parameters)
    assert (finding.check, bool(finding.remedy)) == (check, True)


def test_what_the_remedy_says_is_consistent() -> None:
    [finding] = doctor.consistency({"LabelDelayHours": "96", "LabelWaitHours": "48", "QualitySilenceHours": "168"})
    hours = finding.remedy.split("=")[1].split()[0]
    assert levels(LabelDelayHours="96", LabelWaitHours=hours, QualitySilenceHours="168") == {"parameters": "ok"}


def test_labels_that_come_to_a_long_window_in_time_are_fine() -> None:
    given = {"LabelDelayHours": "96", "LabelWaitHours": "48", "WindowHours": "720", "QualitySilenceHours": "168"}
    assert levels(**given) == {"parameters": "ok"}


def test_a_cycle_that_outlives_its_captures_is_told_of_a_deployed_stack() -> None:
    drift = {"rows": 9000, "window_start": "2026-11-21T00:00:00Z", "window_end": "2026-11-22T00:00:00Z"}
    quality = {"needed_rows": 1000, "needed_reach": 0.8, "label_delay_hours": 24.0, "cycle_hours": 168.0}
    ledger = SimpleNamespace(analysis=lambda _, of="ANALYSIS": drift if of == "ANALYSIS" else quality)
    deployed = SimpleNamespace(ledger=ledger, endpoint_name="flights", parameters={"KeepDataDays": "5"})
    found = {finding.check: finding for finding in doctor.row_findings(deployed)}
    assert found["lifecycle"].remedy == "KeepDataDays=10, or 0 for ever"
    assert found["rows"].level == "ok"


@pytest.mark.parametrize(
    ("rows", "quality", "level"),
    [
        (1000, {"needed_rows": 2000}, "ok"),  # in the window, and in the day of waiting whose labels come
        (1000, {"needed_rows": 2100}, "warning"),
        (1000, {"needed_rows": 1000, "label_coverage": 0.25}, "warning"),
        (1000, {}, None),
        (0, {"needed_rows": 1000}, None),
    ],
)
def test_traffic_that_gives_an_episode_too_few_rows_in_time_is_told(rows: int, quality: Any, level: str | None) -> None:
    drift = {"rows": rows, "window_start": "2026-11-21T00:00:00Z", "window_end": "2026-11-22T00:00:00Z"}
    ledger = SimpleNamespace(analysis=lambda _, of="ANALYSIS": drift if of == "ANALYSIS" else quality)
    deployed = SimpleNamespace(ledger=ledger, endpoint_name="flights", parameters={})
    assert [finding.level for finding in doctor.row_findings(deployed)] == ([level] if level else [])


def account(quotas: dict[str, float], images: list[Any]) -> Any:
    clients = {name: boto3.client(name, region_name="eu-west-1") for name in ("service-quotas", "ecr")}
    stubs = {name: Stubber(client) for name, client in clients.items()}
    listed = [{"QuotaName": name, "Value": value} for name, value in quotas.items()]
    stubs["service-quotas"].add_response("list_service_quotas", {"Quotas": listed}, {"ServiceCode": "sagemaker"})
    stubs["ecr"].add_response(
        "batch_get_image",
        {"images": images},
        {
            "registryId": "000000000000",
            "repositoryName": "sagemaker-xgboost",
            "imageIds": [{"imageTag": "3.2-0"}],
        },
    )
    for stub in stubs.values():
        stub.activate()
    return clients.__getitem__


QUOTAS = {
    "ml.m5.large for endpoint usage": 4.0,
    "ml.m5.xlarge for training job usage": 1.0,
    "ml.m5.xlarge for processing job usage": 1.0,
}


def test_an_account_with_quotas_for_twice_the_fleet_and_the_image_is_ready() -> None:
    found = doctor.examine_account(account(QUOTAS, [{}]), {"XGBoostImageUri": IMAGE, "EndpointInstanceCount": "2"})
    assert {finding.level for finding in found} == {"ok"}


def test_quotas_below_twice_the_fleet_and_a_missing_image_are_errors() -> None:
    parameters = {"XGBoostImageUri": IMAGE, "EndpointInstanceCount": "3", "CandidateJobs": "each"}
    found = doctor.examine_account(account(QUOTAS, []), parameters)
    errors = [finding.text for finding in found if finding.level == "error"]
    assert errors == [
        "ml.m5.large for endpoint usage: 4, needed 6",
        "ml.m5.xlarge for training job usage: 1, needed 4",
        f"{IMAGE} is not there",
    ]
    assert all(finding.remedy for finding in found if finding.level == "error")


def test_the_worst_is_said_first() -> None:
    said = list(words.findings([doctor.Finding("a", "ok", "fine"), doctor.Finding("b", "error", "bad", "mend it")]))
    assert said == ["error    b: bad", "         → mend it", "ok       a: fine"]


@pytest.mark.parametrize("given", ["WindowHours", "=24", "Window Hours=24"])
def test_a_parameter_that_cannot_be_read_is_bad_input(given: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--account", "CooldownHours=6", given])
    assert ended.value.code == 3
    assert f"{given} is no PARAMETER=VALUE" in capsys.readouterr().err
