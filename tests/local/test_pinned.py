"""A MiniStack that lacks what the embedded AWS touches is told at the start, by name and with the remedy."""

from pathlib import Path

import pytest

from local.pinned import VERSION, OtherMiniStackError, require_names, touched

ROOT = Path(__file__).parents[2]


def test_the_pinned_version_is_the_one_that_is_installed_everywhere() -> None:
    assert f'"ministack=={VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_names_are_found_in_functions_and_under_aliases(tmp_path: Path) -> None:
    file = tmp_path / "uses.py"
    file.write_text(
        "from ministack import app\n"
        "def use():\n"
        "    from ministack.services import stepfunctions as sfn\n"
        "    sfn._task_tokens[1] = app.app\n"
    )
    assert touched(file) == {
        ("ministack", "app"),
        ("ministack.app", "app"),
        ("ministack.services", "stepfunctions"),
        ("ministack.services.stepfunctions", "_task_tokens"),
    }
    assert ("ministack.services.cloudwatch", "_evaluate_alarm") in touched(ROOT / "local" / "ministack.py")


def test_a_name_that_is_gone_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "uses.py").write_text("from ministack import app, _gone_since\n")
    with pytest.raises(OtherMiniStackError, match=rf"lacks ministack\._gone_since\. .*{VERSION}.*make setup"):
        require_names(tmp_path)
