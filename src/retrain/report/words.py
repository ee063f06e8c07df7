"""What an analysis says, in words. `document` is what analysis.json holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from retrain.capture.quarantine import UNREADABLE_ANSWER

METHODS: Mapping[str, str] = {
    "linf_simple": "largest difference",
    "linf_robust": "largest difference less chance",
    "chi_squared": "largest difference, and chi-square's p-value",
    "psi": "population stability index",
    "jensen_shannon": "Jensen-Shannon distance",
}
_NAMED = 8  # features in a sentence
_REASONS: Mapping[str, str] = {
    "too_few_rows": "there are too few rows to tell drift from chance",
    "window_short": "the window is too short to tell drift from what such windows do anyhow",
    "capture_missing": "the window has no captured row",
    "not_judged": "no feature could be judged",
    "no_baseline": "there is nothing to compare with",
    "not_described": "the baseline does not describe it",
    "not_numbers": "no value is a number",
    "identifier": "an identifier: later rows have others",
    "time": "a time: later rows have later ones",
    "schema_mismatch": "the data has another shape than the model's",
    "capture_corrupt": "too much of the data can't be read",
    "volume_collapse": "far fewer rows came than were expected",
}
_CHOOSE = " They have several values: say which is the prediction, by prediction in [monitor] or by --answer."
_ASIDE = frozenset({"not_described", "identifier", "time"})


def short(value: Any) -> str:
    """A number of four digits, whole ones in full, or "none".

    >>> short(12.34567), short(65470), short(None)
    ('12.35', '65,470', 'none')
    """
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{float(value):.4g}"


def when(moment: Any) -> str:
    """A moment for people, to the minute; what is none is left as it is.

    >>> when("2013-08-01T00:00:14.716Z")
    '2013-08-01 00:00 UTC'
    """
    return re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::[\d.]+)?Z$", r"\1 \2 UTC", str(moment))


def readable(text: Any) -> str:
    """The text with its long decimals cut to four digits.

    >>> readable("Value: 0.9998150203477617, expected 1.0")
    'Value: 0.9998, expected 1.0'
    """
    return re.sub(r"\d+\.\d{5,}", lambda found: f"{float(found[0]):.4g}", str(text))


def unmet(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The violations of other constraints than drift's: those of drift are the features' verdicts."""
    return [item for item in document["violations"] if item["constraint_check_type"] != "baseline_drift_check"]


def noticed(document: Mapping[str, Any]) -> list[str]:
    """What was noticed and makes no line bad, in sentences; documents of older analyses say nothing of chance.

    >>> noticed({"notes": {"output_not_json": 1500}})
    ['1,500 answers are unreadable (not json): their requests are judged, they are missing from the prediction.']
    >>> noticed({"notes": {}, "untellable": ["rate"], "hours": 24.0, "chance_learned": True})
    ['Not tellable in windows of 24 hours, which move these features by more than their threshold anyhow: rate.']
    """
    found = []
    if aside := [item for item in document.get("features", ()) if item["reason"] in _ASIDE]:
        named = ", ".join(f"{item['name']} ({_REASONS[item['reason']]})" for item in aside)
        found.append(f"Reported and not judged: {named}.")
    for note, count in sorted(document["notes"].items()):
        kind, _, reason = note.partition("_")
        words = note.replace("_", " ")
        if kind == "output":
            words = f"answers are unreadable ({reason.replace('_', ' ')}): their requests are judged, "
            words += "they are missing from the prediction"
        found.append(f"{count:,} {words}.")
    if untellable := document.get("untellable"):
        few = ", ".join(untellable[:_NAMED]) + (", …" if len(untellable) > _NAMED else "")
        length = f"windows of {_hours(document['hours'])}, which move"
        found.append(f"Not tellable in {length} these features by more than their threshold anyhow: {few}.")
    if looks := document.get("seen"):
        told = ", ".join(f"{_hours(item['hours'])} by {item['by']}: {item['verdict'].lower()}" for item in looks)
        found.append(f"Looked at as well: {told}.")
    if document.get("chance_learned") is False:
        found.append(
            "The baseline, or the window, does not say when its rows were: they were taken for independent, and a day "
            "or an hour that is unlike others may be called drift."
        )
    return found


def _hours(hours: float) -> str:
    return "an hour" if hours == 1 else f"{hours:,.0f} hours" if hours >= 1_000 else f"{hours:.4g} hours"


def headline(document: Mapping[str, Any]) -> str:
    """The verdict in a sentence.

    >>> headline({"verdict": "STABLE", "features": [{"judged": True}, {"judged": False}]})
    'Stable: the feature that is judged has not moved further than its threshold allows.'
    """
    judged = [feature for feature in document["features"] if feature["judged"]]
    if document["verdict"] == "DRIFTED":
        drifted = [feature for feature in judged if feature["verdict"] == "DRIFTED"]
        if not drifted:  # another look than the window's saw it
            return f"Drifted, {document['detail']}."
        worst = next((feature for feature in drifted if feature["name"] == document["worst_feature"]), drifted[0])
        most = f"by {worst['distance']:.2f} where {worst['threshold']:.2f} is allowed"
        if worst["distance"] <= worst["threshold"]:
            most = f"by {worst['distance']:.2f}, which chance does with p = {worst['p_value']:.2g}"
        if len(drifted) == 1:
            return f"Drifted: {worst['name']} moved {most}."
        return f"Drifted: {len(drifted)} of {len(judged)} features moved too far, {worst['name']} the most ({most})."
    if document["verdict"] == "STABLE":
        one = len(judged) == 1
        which = "the feature that is judged has not" if one else f"none of the {len(judged)} judged features has"
        return f"Stable: {which} moved further than its threshold allows."
    return f"Undecided: {_REASONS.get(document['reason'], document['reason'])}."


def consequence(document: Mapping[str, Any]) -> str:
    """What follows from the verdict, in a sentence or two."""
    return f"{_follows(document)}{harm(document)}{_answers(document)}"


def harm(document: Mapping[str, Any]) -> str:
    """Whether the drift matters to the model, in a sentence; nothing where the baseline does not say what it leans on.

    >>> harm({"harm": {"likely": True, "share": 0.42, "features": [{"name": "age"}, {"name": "rate"}]}, "opens": "any"})
    ' It is likely to matter: age, rate hold 42 % of the gain of the model and go together differently, or are far off.'
    >>> harm({"harm": {"likely": False, "share": 0.0, "features": []}, "opens": "harm"})
    ' What the model leans on still goes together as it did, so that this alone begins no episode.'
    """
    if not (found := document.get("harm")):
        return ""
    if found["likely"]:
        names = [item["name"] for item in found["features"]]
        few = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        of = f"{few} hold {100 * found['share']:.0f} % of the gain of the model"
        return f" It is likely to matter: {of} and go together differently, or are far off."
    alone = ", so that this alone begins no episode" if document["opens"] == "harm" else ""
    return f" What the model leans on still goes together as it did{alone}."


def _follows(document: Mapping[str, Any]) -> str:
    detail = f": {document['detail']}" if document["detail"] else ""  # it may begin with a name, whose case counts
    if document["triage"]:
        return f"A person has to look, for broken data is no drift, and nothing is retrained on it{detail}."
    if document["verdict"] == "UNDECIDED":
        return f"That is neither drifted nor stable{detail}."
    least = document["min_detectable_drift"]
    if document["verdict"] == "STABLE" and document["detail"]:
        return f"It was {document['detail']}."
    if document["verdict"] == "STABLE":
        return (
            f"In a window of this size a feature that moved further than its threshold, and by {least:.3f} or more, "
            "would have been found drifted."
        )
    return f"In a window of this size chance alone moves a feature by less than {least:.3f}."


def _answers(document: Mapping[str, Any]) -> str:
    prediction = document["prediction"]
    if not prediction or prediction["reason"] not in {"capture_corrupt", "ambiguous_answer"}:
        return ""
    unreadable = sum(count for note, count in document["notes"].items() if note.startswith(UNREADABLE_ANSWER))
    return (
        f" Of {document['records']:,} captures the answers of {unreadable:,} can't be read: whether the predictions "
        f"have drifted is unknown.{_CHOOSE if prediction['reason'] == 'ambiguous_answer' else ''}"
    )
