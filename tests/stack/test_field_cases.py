"""The control plane's cases from the field, C01 to C20: what became of each is held by tests, and they are there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = {
    "C01 two stacks of one EndpointName": [
        "tests/pipeline/test_publishing.py::test_a_second_stack_of_the_same_endpoint_is_refused_and_told_who_owns_it",
        "tests/stack/test_owners.py::test_a_second_stack_of_the_same_endpoint_is_refused_and_the_first_one_keeps_its_pipeline",
        "tests/deployed/test_template.py::test_the_stacks_that_samconfig_names_have_endpoints_of_their_own",
    ],
    "C02 an endpoint that exists and is nobody's": [
        "tests/stack/test_owners.py::test_an_endpoint_that_exists_is_not_taken_over",
        "tests/stack/test_owners.py::test_an_endpoint_that_exists_is_adopted_when_asked_and_what_serves_is_the_first_champion",
    ],
    "C03 deleted and deployed again, the ledger kept": [
        "tests/pipeline/test_publishing.py::test_a_champion_is_not_bootstrapped_again",
        "tests/episode/test_alarm.py::test_a_bootstrap_with_a_champion_is_ignored",
    ],
    "C04 other partitions": [
        "tests/deployed/test_template.py::test_no_partition_is_written_out",
    ],
    "C05 EndpointName changed on a stack": [
        "tests/pipeline/test_publishing.py::test_a_renamed_endpoint_is_refused_and_its_stack_goes_back_to_its_own",
        "tests/stack/test_owners.py::test_a_stack_keeps_the_name_of_its_endpoint",
    ],
    "C06 built for another machine": [
        "tests/pipeline/test_publishing.py::test_what_was_built_for_another_machine_is_refused_in_words",
        "tests/stack/test_owners.py::test_functions_that_were_built_for_another_processor_are_refused_in_words",
        "tests/deployed/test_template.py::test_samconfig_builds_for_what_it_deploys_to",
    ],
    "C07 sam local invoke": [
        "tests/test_operating.py::test_sam_can_invoke_the_functions_as_they_are_deployed",
        "tests/test_operating.py::test_every_event_leads_to_what_its_readme_says",
    ],
    "C08 the bootstrap can be asked for again": [
        "tests/episode/test_requests.py::test_a_bootstrap_can_be_asked_for_again",
        "tests/test_operating.py::test_a_champion_is_not_bootstrapped_again",
    ],
    "C09 the endpoint was moved back by hand": [
        "tests/faults/test_retraining.py::test_nothing_is_trained_against_a_champion_that_does_not_serve",
        "tests/test_operating.py::test_what_was_changed_by_hand_is_seen_and_adopted_or_the_champion_is_restored",
    ],
    "C10 the endpoint was deleted": [
        "tests/faults/test_retraining.py::test_nothing_is_trained_against_a_champion_that_does_not_serve",
        "tests/operate/test_requests.py::test_a_lost_endpoint_is_made_again",
        "tests/test_operating.py::test_what_was_changed_by_hand_is_seen_and_adopted_or_the_champion_is_restored",
    ],
    "C11 a quota that the pipeline met": [
        "tests/faults/test_retraining.py::test_F23_a_quota_that_the_pipeline_met_is_not_waited_for",
    ],
    "C12 a long stack name": [
        "tests/stack/test_owners.py::test_a_stack_with_a_long_name_may_send_its_dead_letters",
        "tests/deployed/test_template.py::test_every_rule_may_send_what_it_cannot_deliver_whatever_the_stack_is_called",
    ],
    "C13 set-alarm-state after an episode": [
        "tests/faults/test_intake.py::test_F13_an_alarm_that_was_set_by_hand_is_an_alarm_and_uses_no_evidence_twice",
        "tests/episode/test_opening.py::test_evidence_is_used_once",
    ],
    "C14 an unknown episode is closed": [
        "tests/episode/test_closing.py::test_an_episode_that_nobody_knows_is_refused_by_name"
    ],
    "C15 the serving package is rejected": [
        "tests/faults/test_approval.py::test_a_package_that_serves_and_is_rejected_is_told"
    ],
    "C16 AWS_ENDPOINT_URL is exported": [
        "tests/local/test_endpoint_url.py::test_an_exported_endpoint_does_not_reach_the_tests"
    ],
    "C17 a failed episode's pipeline": [
        "tests/episode/test_closing.py::test_its_pipeline_is_stopped",
    ],
    "C18 a request that was never sent": [
        "tests/aws/test_adapters.py::test_what_was_never_sent_is_rejected_by_name_and_not_tried_again"
    ],
    "C19 silence after a first deployment": [
        "tests/pipeline/test_publishing.py::test_the_silence_alarms_have_a_beginning",
        "tests/monitors/test_watch.py::test_an_endpoint_without_a_champion_is_not_watched_and_the_silence_alarm_knows",
    ],
    "C20 nobody would be asked": [
        "tests/deployed/test_template.py::test_approval_by_a_person_is_refused_where_nobody_would_be_asked",
    ],
}


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {item.name for item in ast.walk(tree) if isinstance(item, ast.FunctionDef)}


@pytest.mark.parametrize("case", CASES)
def test_a_case_from_the_field_is_held_by_tests_that_there_are(case: str) -> None:
    for name in CASES[case]:
        file, _, test = name.partition("::")
        assert test in functions_of(file), name


def test_every_case_is_there_once() -> None:
    assert [case.split()[0] for case in CASES] == [f"C{number:02}" for number in range(1, 21)]
