"""Model Monitor's contract with the containers of its schedules: how a window is asked for, and how it is answered.

What is asked for comes in the environment, or where that is empty from the job's configuration file. The output folder
gets statistics.json, constraints.json and constraint_violations.json, and analysis.json with every number.

Contract: "Support for your own containers with Model Monitor", SageMaker Developer Guide.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from retrain.capture.local_files import Evidence, find_evidence
from retrain.core import clock
from retrain.core.errors import InvalidSettings, NoBaseline, Refused
from retrain.core.window import Window
from retrain.drift.analysis import Analysis
from retrain.drift.baseline import Statistics, read_statistics
from retrain.drift.constraints import Constraints, read_constraints
from retrain.drift.sides import one_side, told_apart, with_answer
from retrain.drift.verdict import Verdict

_CONFIGURATIONS = ("config/processingjobconfig.json", "processing/processingjobconfig.json")
_RESOURCES = "config/resourceconfig.json"
_METRICS = "output/metrics/cloudwatch/cloudwatch_metrics.jsonl"
_FIELDS = ("MetricName", "Dimensions", "Timestamp", "Value", "StatisticValues")
_CAPTURES = "sagemakerCaptureJson"
_SIDES = ["endpointInput", "endpointOutput"]


@dataclass(frozen=True)
class Request:
    """What one execution was asked for; `evidence` is None where the source has no file of the window's hours.

    `metrics_of` are the endpoint and the schedule whose metrics SageMaker publishes, None if it shall publish none.
    """

    statistics: Statistics
    constraints: Constraints
    asked: Window
    evidence: Evidence | None
    output: Path
    metrics_of: tuple[str, str] | None
    side: str | None = None  # the only one that is compared, of captureIndexNames

    @property
    def window(self) -> Window:
        """The span of time to judge: where the evidence names one, within what was asked for."""
        return self.evidence.asked if self.evidence else self.asked

    @property
    def covered(self) -> Window | Literal["told"]:
        """From when to when the rows were: a table's, which do not tell it, in the time that was asked for."""
        return self.asked if self.evidence and self.evidence.tabular else "told"

    def captures(self) -> Iterator[tuple[str, Iterable[bytes]]] | tuple[()]:
        """Name and lines of each file that lies in the window."""
        if self.evidence is None:
            return ()
        return _captures(self.evidence, self.statistics, self.side)


def read_request(root: Path) -> Request:
    """The request in the environment, or in the configuration file below SageMaker's folder.

    Raises InvalidSettings or NoBaseline naming what is missing, and what is asked for and can't be done.
    """
    wanted = _wanted(root)
    _require_data_quality(wanted)
    _require_one_machine(root / _RESOURCES)
    start, end = _moment(wanted, "start_time"), _moment(wanted, "end_time")
    if start >= end:
        raise InvalidSettings(f"end_time is {clock.render(end)}, which is not after start_time")
    statistics = read_statistics(_baseline(wanted, "baseline_statistics"), wanted["baseline_statistics"])
    constraints = read_constraints(_baseline(wanted, "baseline_constraints"), wanted["baseline_constraints"])
    said = _format(wanted)
    evidence, side = _evidence(Path(_required(wanted, "dataset_source")), (start, end), said), _side(said)
    statistics = with_answer(statistics, _answer(wanted))
    if evidence and not evidence.tabular and (side or constraints.native):
        statistics = (
            replace(statistics, prediction=None)
            if side
            else told_apart(statistics, evidence.captures(list(statistics.features)))
        )
    switches = wanted.get("publish_cloudwatch_metrics"), constraints.monitoring_config.get("emit_metrics", "Enabled")
    metrics_of = None
    if switches == ("Enabled", "Enabled"):
        metrics_of = (
            _required(wanted, "sagemaker_endpoint_name"),
            _required(wanted, "sagemaker_monitoring_schedule_name"),
        )
    output = Path(_required(wanted, "output_path"))
    return Request(statistics, constraints, (start, end), evidence, output, metrics_of, side)


def _captures(evidence: Evidence, statistics: Statistics, side: str | None) -> Iterator[tuple[str, Iterable[bytes]]]:
    for source, lines in evidence.captures(list(statistics.features)):
        yield source, one_side(lines, side) if side else lines


def _side(said: tuple[str, Mapping[str, Any]] | None) -> str | None:
    """The side of a capture that captureIndexNames leaves, None if both count."""
    names = said[1].get("captureIndexNames", _SIDES) if said and said[0] == _CAPTURES else _SIDES
    if not isinstance(names, list) or not names or not set(names) <= set(_SIDES):
        raise InvalidSettings(f"captureIndexNames is {names!r}: a list with some of {', '.join(_SIDES)} is expected")
    return names[0] if len(set(names)) == 1 else None


def _answer(wanted: Mapping[str, str]) -> str | int | None:
    """Which value of an answer is the prediction: probability_attribute, or inference_attribute, a name or an index."""
    said = wanted.get("probability_attribute") or wanted.get("inference_attribute")
    return int(said) if said and said.isdecimal() else said or None


def _wanted(root: Path) -> Mapping[str, str]:
    """What the job was asked for, by name."""
    if "dataset_source" in os.environ:
        return os.environ
    for name in _CONFIGURATIONS:
        if (root / name).is_file():
            try:
                found = json.loads((root / name).read_bytes())["Environment"]
            except (ValueError, KeyError, TypeError):
                raise InvalidSettings(f"{root / name}: no JSON object with an Environment") from None
            return {str(key): str(value) for key, value in found.items()}
    raise InvalidSettings(f"dataset_source is neither in the environment nor in {root / _CONFIGURATIONS[0]}")


def _require_data_quality(wanted: Mapping[str, str]) -> None:
    """Model Monitor's schedules of the other kinds ask for them in the same way."""
    kind = wanted.get("analysis_type") or "DATA_QUALITY"
    if kind != "DATA_QUALITY":
        raise InvalidSettings(
            f"analysis_type is {kind}: this container analyses DATA_QUALITY, and nothing else: make a data-quality "
            "schedule of it (answers are held against labels by the stack's quality monitor)"
        )


def _format(wanted: Mapping[str, str]) -> tuple[str, Mapping[str, Any]] | None:
    """What dataset_format says the source holds, and its options; None if it says nothing."""
    text = wanted.get("dataset_format")
    if not text:
        return None
    try:
        [(kind, options)] = json.loads(text).items()
        return str(kind), dict(options)
    except (ValueError, AttributeError, TypeError):
        example = json.dumps({_CAPTURES: {}})
        raise InvalidSettings(f"dataset_format is {text!r}: an object such as {example} is expected") from None


def _evidence(source: Path, window: Window, said: tuple[str, Mapping[str, Any]] | None) -> Evidence | None:
    """The files of the window, in the format that was asked for; None if there is none of its hours."""
    if source.is_dir() and not any(item.is_file() for item in source.rglob("*")):
        return None
    evidence = find_evidence(source)
    if said and not evidence.transformed:  # of batch transform it is the format of what the manifests name
        _require_format(evidence, *said)
    if evidence.tabular:
        return evidence
    try:
        return find_evidence(source, *window)
    except Refused:  # there are files, of other hours
        return None


def _require_format(evidence: Evidence, kind: str, options: Mapping[str, Any]) -> None:
    found = _CAPTURES
    if evidence.tabular:
        found = "parquet" if evidence.paths[0].suffix.lower() == ".parquet" else "csv"
    if kind not in {_CAPTURES, "csv", "parquet"}:
        raise InvalidSettings(f"dataset_format asks for {kind}: {_CAPTURES}, csv with a header and parquet are read")
    if kind != found:
        raise InvalidSettings(f"dataset_format asks for {kind}, and {evidence.paths[0]} is {found}: ask for {found}")
    if kind == "csv" and str(options.get("header")).lower() != "true":
        raise InvalidSettings(
            'dataset_format asks for csv without a header: name the columns in the first line, and say {"header": true}'
        )


def _require_one_machine(resources: Path) -> None:
    """Windows too large for one machine are read by retrain.jobs.intake, on several, or by retrain.jobs.spark."""
    if resources.is_file() and len(json.loads(resources.read_bytes()).get("hosts", [])) > 1:
        raise InvalidSettings("the job has several instances, each with a share of the captures: ask for one")


def _required(wanted: Mapping[str, str], name: str) -> str:
    if not wanted.get(name):
        raise InvalidSettings(f"{name} is not set: the job's Environment has to name it")
    return wanted[name]


def _baseline(wanted: Mapping[str, str], name: str) -> bytes:
    path = Path(_required(wanted, name))
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoBaseline(f"{name} is {path}, which can't be read: {error.strerror}") from None


def _moment(wanted: Mapping[str, str], name: str) -> datetime:
    text = _required(wanted, name)
    try:
        return clock.parse(text)
    except ValueError:
        raise InvalidSettings(f"{name} is {text!r}: a time such as 2026-11-22T14:00:00Z is expected") from None


def write_analysis(folder: Path, analysis: Analysis) -> str:
    """The documents are in the folder; what was found, in a sentence that begins with the execution's status."""
    folder.mkdir(parents=True, exist_ok=True)
    violations = analysis.constraint_violations()["violations"]
    if analysis.triage:  # Model Monitor has no third verdict: who looks at violations only has to see it, too
        violations.append(
            {"feature_name": " ", "constraint_check_type": analysis.reason, "description": str(analysis.detail)}
        )
    documents = {
        "statistics": analysis.statistics(),
        "constraints": analysis.constraints(),
        "constraint_violations": {"violations": violations},
        "analysis": analysis.document(),
    }
    for name, document in documents.items():
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return _sentence(analysis, len(violations))


def write_metrics(root: Path, analysis: Analysis, metrics_of: tuple[str, str], end: datetime) -> None:
    """A line for each metric of the endpoint and the schedule, of that moment, where SageMaker looks for them.

    SageMaker chooses the namespace, and takes neither units nor more fields.
    """
    file = root / _METRICS
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as out:
        for metric in analysis.metrics(*metrics_of, at=end):
            line: dict[str, Any] = {name: metric[name] for name in _FIELDS if name in metric}
            out.write(json.dumps(line | {"Timestamp": clock.render(line["Timestamp"])}) + "\n")


def _sentence(analysis: Analysis, violations: int) -> str:
    """The first word is the execution's status in Model Monitor."""
    verdict = analysis.verdict.value
    if analysis.verdict is Verdict.UNDECIDED:
        verdict += f" ({analysis.reason}): {analysis.detail}"
    elif analysis.worst_feature is not None:
        verdict += f": {analysis.worst_feature} {analysis.drift_max:.3g} of {analysis.threshold:g}"
    if violations:
        return f"CompletedWithViolations: {violations} violation{'s'[: violations - 1]}. {verdict}"
    if analysis.verdict is Verdict.UNDECIDED:
        return f"Completed: nothing was decided. {verdict}"
    return f"Completed: Job completed successfully with no violations. {verdict}"
