"""Names, times and errors: examples in their docstrings, and the limits they keep."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from retrain.core import clock, errors, names

AT = datetime(2013, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize("endpoint", ["f", "flights", "a" * 38, "a" * 63, "a-" * 31 + "a"])
def test_every_name_of_an_episode_keeps_sagemakers_limits(endpoint: str) -> None:
    episode_id = names.episode_id(endpoint, "cause", AT)
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", names.model_name(episode_id))
    assert names.endpoint_config_name(episode_id) == names.model_name(episode_id) == episode_id
    assert len(names.execution_name(episode_id)) <= 80
    assert re.fullmatch(r"[a-zA-Z0-9-]{32,128}", names.request_token(episode_id))


def test_names_that_are_cut_stay_apart() -> None:
    assert names.cut("x" * 100 + "1", 63) != names.cut("x" * 100 + "2", 63)
    assert len(names.cut("x" * 100, 63)) == 63


def test_another_cause_or_time_is_another_episode() -> None:
    ids = {names.episode_id("f", cause, AT + timedelta(milliseconds=ms)) for cause in "ab" for ms in (0, 1)}
    assert len(ids) == 4


def test_an_endpoints_models_begin_with_its_name_so_that_roles_can_name_them() -> None:
    """The template allows endpoint names of up to 38 characters, and roles name `model/{EndpointName}-*`."""
    assert names.episode_id("a" * 38, "cause", AT).startswith("a" * 38 + "-")


@pytest.mark.parametrize("text", ["2013-04-01T00:00:00", "noon", "", "2013-13-01T00:00:00Z"])
def test_a_time_without_zone_or_sense_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        clock.parse(text)


@pytest.mark.parametrize("text", ["2013-04-01T00:00:00Z", "2013-04-01T00:00:00.318Z", "2012-02-29T23:59:59Z"])
def test_times_survive_the_wire(text: str) -> None:
    assert clock.render(clock.parse(text)) == text


def test_times_of_other_zones_are_told_in_utc() -> None:
    assert clock.render(datetime(2013, 4, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == "2013-04-01T00:00:00Z"
    with pytest.raises(ValueError):
        clock.render(datetime(2013, 4, 1))  # noqa: DTZ001 - that is the point


def test_every_error_belongs_to_exactly_one_branch() -> None:
    branches = (errors.Retryable, errors.Permanent, errors.Refused)
    for item in vars(errors).values():
        if isinstance(item, type) and issubclass(item, errors.RetrainError) and item is not errors.RetrainError:
            assert sum(issubclass(item, branch) for branch in branches) == 1, item


def test_a_refusal_survives_the_words_that_sagemaker_puts_around_it() -> None:
    said = "AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage: too_few_rows: 12 rows: 500 are needed"
    refusal = errors.refusal_in(said)
    assert refusal is not None
    assert (refusal.code, refusal.detail) == ("too_few_rows", "12 rows: 500 are needed")


@pytest.mark.parametrize("said", ["", "not_better", "somebody said not_better", "made_up_code: nothing"])
def test_what_is_no_refusal_is_none(said: str) -> None:
    assert errors.refusal_in(said) is None
