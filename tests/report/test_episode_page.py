"""The page of an episode: everything an approver needs, nothing that could run."""

from __future__ import annotations

import re
from typing import Any

import pytest

from retrain.report.episode_page import Evidence, headline, render_episode


def draw(item: Any, manifest: Any = None, evaluation: Any = None, **changes: Any) -> str:
    found = {"analysis": None, "analysis_link": None, "manifest": manifest, "evaluation": evaluation, **changes}
    return render_episode(Evidence(episode_id="flights-1", item=item, **found))


def own(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_decision_is_a_sentence_with_its_numbers(item: Any, manifest: Any, evaluation: Any) -> None:
    page = draw(item, manifest, evaluation)
    assert "The challenger is better: RMSE 11.7 where the champion has 21.6, better by 8.7 to 11.2 with 95 %" in page
    assert "A person is asked to approve or reject" in page


def test_every_comparison_is_drawn(item: Any, manifest: Any, evaluation: Any) -> None:
    page = draw(item, manifest, evaluation)
    drawn = re.findall(r'id="plot-(\w+)"', page)
    assert drawn == ["gate", "time", "curves", "importance", "segments"]
    assert "fewer than 100 rows" in page


def test_what_came_of_the_shadow_is_told(item: Any, manifest: Any, evaluation: Any) -> None:
    assert "Nothing was asked again in the shadow." in draw(item, manifest, evaluation)
    shadow = {"asked": 500, "requests": 498, "failed": 3, "error": "KeyError", "rows": 1980, "unlike": 7}
    shadow |= {"difference": 0.213, "champion_ms": 1.0, "challenger_ms": 1.2}
    evaluation["gate"]["shadow"] = shadow
    page = draw(item, manifest, evaluation)
    assert "asked again what 498 requests of the window had asked" in page
    assert "answered 495 of them (KeyError), 7 of 1,980 rows otherwise than it was judged" in page
    evaluation["gate"]["shadow"] = {**shadow, "requests": 0}
    assert "None of 500 requests of the window could be asked again." in draw(item, manifest, evaluation)


def test_what_was_not_looked_for_is_said(item: Any, manifest: Any, evaluation: Any) -> None:
    assert "Not looked for: flipped labels: 12 of 900 labelled rows" in draw(item, manifest, evaluation)
    del manifest["unchecked"]
    assert "Not looked for" not in draw(item, manifest, evaluation)


def test_what_is_new_in_kind_is_told_with_what_a_person_may_do(item: Any, manifest: Any, evaluation: Any) -> None:
    assert "New in kind" not in draw(item, manifest, evaluation)
    manifest["news"] = ["carrier: 95% of the rows have one and the same value, 3% of the reference's have it"]
    page = own(draw(item, manifest, evaluation))
    assert "95% of the rows have one and the same value" in page
    assert "python -m retrain exclude" in page


def test_names_are_shown_and_not_run_and_a_token_is_not_shown(item: Any, manifest: Any, evaluation: Any) -> None:
    page = draw(item, manifest, evaluation)
    assert "&lt;/script&gt;&lt;img src=x" in page
    assert "<img" not in page
    assert "never-shown" not in page


def test_nothing_is_loaded_and_only_the_console_is_linked(item: Any, manifest: Any, evaluation: Any) -> None:
    link = "https://us-east-1.console.aws.amazon.com/s3/object/bucket?region=us-east-1&prefix=a"
    page = own(draw(item, manifest, evaluation, analysis_link=link))
    assert re.findall(r'(?:src|href|action)\s*=\s*"([^"]*)"', page) == ["data:,", link.replace("&", "&amp;")]
    assert not re.search(r"url\(|@import|<(?:iframe|object|img)\b", page)


@pytest.mark.parametrize("part", ["segments", "curves", "importance", "over_time", "training"])
def test_what_an_older_evaluation_lacks_is_left_out_with_a_sentence(
    part: str, item: Any, manifest: Any, evaluation: Any
) -> None:
    del evaluation[part]
    said = {
        "segments": "The evaluation has no segments.",
        "curves": "The evaluation has no residuals or calibration.",
        "importance": "The evaluation has no feature importance.",
        "over_time": "The evaluation has no metric over time.",
        "training": "The evaluation does not name the candidates.",
    }
    assert said[part] in draw(item, manifest, evaluation)


def test_an_episode_that_has_just_begun_has_a_page_without_plots(item: Any) -> None:
    page = draw({**item, "task_tokens": set(), "model_package_arn": ""})
    assert "there is no challenger yet" in page
    assert len(page) < 20_000


def test_a_kept_champion_says_why(item: Any, manifest: Any, evaluation: Any) -> None:
    evaluation["gate"] |= {
        "decision": "keep_champion",
        "reasons": [{"code": "not_better", "detail": "the lower bound is -0.4"}],
        "interval": [-0.4, 1.1],
    }
    page = draw(
        {**item, "status": "CLOSED", "outcome": "champion_kept", "reason": "not_better", "closed_at": "t"},
        manifest,
        evaluation,
    )
    assert "The champion stays: the challenger has RMSE" in page
    assert "with 95 % confidence, which does not clear the margin of 0.3." in page
    assert "the lower bound is -0.4" in page


@pytest.mark.parametrize(
    ("code", "detail", "said"),
    [
        (
            "forgets_reference",
            "rmse 12 → 20 on 700 reference rows, the limit is 13.8000001",
            "but it forgets what the old rows say (rmse 12 → 20 on 700 reference rows, the limit is 13.8)",
        ),
        ("degrades_segment", "carrier=AA: rmse 1 → 2; carrier=UA: …", "where it may not be (carrier=AA: rmse 1 → 2)"),
        ("biased", "bias 0.1 → 9", "but its answers lie further off to one side (bias 0.1 → 9)"),
        ("odd_new_code", "3 of 4", "but odd new code (3 of 4)"),
    ],
)
def test_a_better_challenger_that_was_refused_is_told_with_the_first_reason(
    code: str, detail: str, said: str, evaluation: Any
) -> None:
    reasons = [{"code": code, "detail": detail}, {"code": "not_better", "detail": "never said"}]
    sentence = headline({}, {**evaluation["gate"], "decision": "keep_champion", "reasons": reasons})
    assert sentence.startswith(
        "The champion stays: the challenger has RMSE 11.7 where the champion has 21.6, better by"
    )
    assert sentence.endswith(f"{said}.")


def test_old_rows_are_compared_with_an_interval_if_the_evaluation_has_one(
    item: Any, manifest: Any, evaluation: Any
) -> None:
    assert "the limit is 14.5; between 0.9 worse and 0.2 better</div>" in draw(item, manifest, evaluation)
    del evaluation["gate"]["reference"]["interval"]
    assert "the limit is 14.5</div>" in draw(item, manifest, evaluation)


def test_the_metric_over_time_says_of_which_time(item: Any, manifest: Any, evaluation: Any) -> None:
    page = draw(item, manifest, evaluation)
    assert "On the holdout, 2013-07-26 06:00 UTC to 2013-07-31 23:00 UTC, in spans of equally many rows" in page
    assert "On the holdout, in spans of equally many rows" in draw(item, None, evaluation)


@pytest.mark.parametrize(("metric", "title"), [("logloss", "LOGLOSS"), ("auc", "AUC"), ("mlogloss", "MLOGLOSS")])
def test_a_classifier_has_calibration_instead_of_residuals(
    metric: str, title: str, item: Any, manifest: Any, evaluation: Any
) -> None:
    bins = [{"rows": 100, "predicted": n / 10, "observed": n / 11} for n in range(10)]
    evaluation["curves"] = {"kind": "reliability", "champion": bins, "challenger": bins}
    evaluation["gate"] |= {"metric": metric, "direction": "max" if metric == "auc" else "min"}
    page = draw(item, manifest, evaluation)
    assert "<h3>Calibration</h3>" in page
    assert f"{title} 11.7 where the champion has 21.6" in page
    assert ("higher is better" in page) == (metric == "auc")


def test_a_first_model_is_compared_with_nobody(item: Any, manifest: Any, evaluation: Any) -> None:
    gone = dict.fromkeys(("champion", "difference", "interval", "confidence", "reference"))
    evaluation["gate"] |= {"decision": "bootstrap", **gone}
    for part in ("curves", "importance"):
        evaluation[part]["champion"] = None
    for span in evaluation["over_time"]:
        del span["champion"]
    page = draw({**item, "bootstrap": True}, {**manifest, "bootstrap": True}, {**evaluation, "segments": None})
    assert "The first model of this endpoint has RMSE 11.7 on its holdout." in page
    assert '"name":"champion"' not in page


def test_an_episode_refused_for_its_labels_says_so_without_a_challenger(item: Any) -> None:
    refused = {"status": "CLOSED", "outcome": "refused", "reason": "labels_insufficient", "detail": "12 of 5,000 rows"}
    page = draw({**item, **refused, "closed_at": "2013-08-02T00:00:00Z", "model_package_arn": ""})
    assert "No challenger was judged: labels insufficient." in page
    assert "12 of 5,000 rows" in page


def test_what_moved_most_comes_first_whatever_matters_most(item: Any) -> None:
    features = [
        {"name": name, "distance": d, "severity": d / 0.3, "verdict": v, "judged": True, "threshold": 0.3, "psi": None}
        for name, d, v in (("calm", 0.02, "STABLE"), ("wild", 0.6, "DRIFTED"), ("brisk", 0.2, "STABLE"))
    ]
    window = {"window_start": "2013-07-01T00:00:00Z", "window_end": "2013-08-01T00:00:00Z", "rows": 5000}
    page = draw(item, analysis={**window, "features": features})
    assert page.index("wild") < page.index("brisk") < page.index("calm")


def test_the_same_evidence_gives_the_same_bytes(item: Any, manifest: Any, evaluation: Any) -> None:
    assert draw(item, manifest, evaluation) == draw(item, manifest, evaluation)


def test_why_the_champion_got_worse_is_told(item: Any, manifest: Any, evaluation: Any) -> None:
    assert "because other rows came" not in draw(item, manifest, evaluation)
    found = {"metric": "rmse", "before": 11.9, "realised": 21.0, "expected": 13.2, "interval": [11.0, 15.8]}
    page = draw(item, manifest, {**evaluation, "decay": {**found, "relation": True}})
    assert "1.3 of the change is because other rows came, 7.8 because what they mean has changed." in page
    unknown = {**found, "expected": None, "detail": "too few rows"}
    assert "Why cannot be told: too few rows." in draw(item, manifest, {**evaluation, "decay": unknown})
