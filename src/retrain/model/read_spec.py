"""Reads model.toml: a specification, or an error that names file, line, key and what to write instead."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from retrain.core.errors import InvalidSpec
from retrain.core.names import PREDICTION
from retrain.model import hyperparameters
from retrain.model.hyperparameters import HyperparameterError, as_written, is_number, not_a_number
from retrain.model.monitor_options import MonitorOptions, OptionError
from retrain.model.spec import (
    BALANCED,
    CANDIDATES,
    FEATURE_TYPES,
    GATE_RULES,
    HIGHER_IS_BETTER,
    METRICS,
    MOST_SEGMENTS,
    POLICIES,
    RESERVED,
    DatasetOptions,
    EconomicsOptions,
    Feature,
    GateOptions,
    Spec,
    TrainingOptions,
)

Options = TypeVar("Options", TrainingOptions, DatasetOptions, GateOptions, EconomicsOptions)
_HEAVIEST = 1e6  # weight of a class


def read_spec(path: Path) -> Spec:
    """The specification in that file.

    Raises `InvalidSpec` naming the file, the line, the key and what to write instead.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidSpec(
            f"{path}: there is no such file: `python -m retrain init` writes a model.toml; "
            "the initial data needs it beside train.csv"
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path.name} is not UTF-8 text ({error}): save it as UTF-8") from error
    return parse_spec(text, path.name)


def parse_spec(text: str, file: str = "model.toml") -> Spec:
    """The specification that the TOML text holds; `file` is its name in error messages."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _broken(text, file, str(error)) from error
    except (ValueError, RecursionError) as error:
        number, line = max(enumerate(text.split("\n"), 1), key=lambda item: len(item[1]))
        where = f"{file}, line {number}: {line.strip()[:60]}…"
        raise InvalidSpec(f"{where}: too many digits or brackets: write what the option needs") from error
    return _SpecReader(text, file, document).spec()


@dataclass(frozen=True)
class _SpecReader:
    """A parsed document together with the text that it came from, for errors that say where."""

    text: str
    file: str
    document: Mapping[str, Any]

    def spec(self) -> Spec:
        known = ("model", "features", "hyperparameters", "training", "dataset", "gate", "economics", "monitor")
        for name in self.document:
            if name not in known:
                raise self.error(name, None, f"unknown section: one of {', '.join(known)} is expected")
        model = self.section("model", required=True)
        for key in model:
            if key not in {"label", "task", "metric", "direction", "positive", "time"}:
                known_keys = "label, task, metric, direction, positive and time"
                raise self.error("model", key, f"unknown key: {known_keys} are expected")
        task = self.choice("model", "task", tuple(METRICS))
        metric = self.choice("model", "metric", METRICS[task])
        label = self.name("label", model.get("label"))
        self.direction(metric)
        features, ignored = self.features(label)
        dataset, gate = self.options("dataset", DatasetOptions), self.options("gate", GateOptions)
        self.reference(dataset.max_reference_holdout_rows, gate.least_reference_rows)
        parameters, rounds = self.hyperparameters(task, features)
        return Spec(
            label=label,
            task=task,
            metric=metric,
            features=features,
            hyperparameters=MappingProxyType(parameters),
            num_boost_round=rounds,
            training=self.training(task),
            dataset=dataset,
            gate=gate,
            economics=self.economics(),
            monitor=self.monitor(features),
            ignored=ignored,
            positive=self.positive(task),
            time=self.time(label, features),
        )

    def time(self, label: str, features: tuple[Feature, ...]) -> str | None:
        if "time" not in self.document["model"]:
            return None
        name = self.name("time", self.document["model"]["time"])
        if name == label or any(feature.name == name for feature in features):
            raise self.error("model", "time", f"{name!r} is the label or a feature: what comes after it is unknown")
        return name

    def positive(self, task: str) -> str | None:
        said = self.document["model"].get("positive")
        if said is not None and task != "binary":
            raise self.error("model", "positive", f"a {task} model has no positive class: remove this line")
        if said is not None and (not isinstance(said, str) or not said.strip()):
            raise self.error(
                "model", "positive", f"{as_written(said)} is no class: write one of the label's, in quotes"
            )
        return said

    def direction(self, metric: str) -> None:
        said, right = self.document["model"].get("direction"), "max" if metric in HIGHER_IS_BETTER else "min"
        if said is not None and said != right:
            better = "higher" if right == "max" else "lower"
            raise self.error(
                "model",
                "direction",
                f"{as_written(said)}, but a {better} {metric} is better: write {right}, or remove this line",
            )

    def reference(self, kept: int, needed: int) -> None:
        if kept < needed:
            raise self.error(
                "dataset",
                "max_reference_holdout_rows",
                f"of {kept} old rows the gate could not judge, it needs {needed}: keep as many, or write "
                f"min_reference_rows = {kept} into [gate]",
            )

    def features(self, label: str) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
        section = self.section("features", required=True)
        if not section:
            raise self.error("features", None, 'no feature: write one line for each, like distance = "numeric"')
        for name, kind in section.items():
            if kind not in FEATURE_TYPES:
                hint = f"write one of {', '.join(FEATURE_TYPES)}"
                if isinstance(kind, dict):
                    hint += ", and a name with a dot in quotes"
                raise self.error("features", name, f"{as_written(kind)} is no feature type: {hint}")
            if name == label:
                raise self.error("features", name, "the label cannot be a feature: remove this line")
            if not name.strip():
                raise self.error("features", name, "a feature has no name: write the name of a column of train.csv")
            if name.startswith(RESERVED) or name == PREDICTION:
                reserved = f"{PREDICTION} and names that begin with {RESERVED} are reserved"
                raise self.error("features", name, f"{reserved}: rename the column")
        used = tuple(Feature(name, kind) for name, kind in section.items() if kind != "text")
        if not used:
            raise self.error("features", None, "texts are ignored, and nothing else is here: add a feature")
        return used, tuple(name for name, kind in section.items() if kind == "text")

    def hyperparameters(self, task: str, features: tuple[Feature, ...]) -> tuple[dict[str, Any], int]:
        names, categorical = (
            [feature.name for feature in features],
            any(item.type == "categorical" for item in features),
        )
        try:
            return hyperparameters.checked(self.section("hyperparameters"), task, names, categorical)
        except HyperparameterError as bad:
            raise self.error("hyperparameters", bad.key, bad.detail) from None

    def options(self, name: str, kind: type[Options]) -> Options:
        section = self.section(name)
        known = {item.name: item for item in fields(kind)}
        values: dict[str, Any] = {}
        for key, value in section.items():
            if key not in known:
                raise self.error(name, key, f"unknown key: one of {', '.join(known)} is expected")
            if key == "candidates":
                values[key] = self.some_of(name, key, value, CANDIDATES)
            elif key == "rules":
                values[key] = self.some_of(name, key, value, GATE_RULES, least=0)
            elif key == "policy":
                values[key] = self.choice(name, key, POLICIES)
            elif key == "segments":
                values[key] = self.segments(value)
            elif key == "class_weights":
                values[key] = self.class_weights(value)
            else:
                values[key] = self.number(name, key, value, known[key])
        return kind(**values)

    def training(self, task: str) -> TrainingOptions:
        found = self.options("training", TrainingOptions)
        if found.class_weights and task == "regression":
            raise self.error("training", "class_weights", "a regression has no classes: remove this line")
        return found

    def class_weights(self, value: Any) -> Mapping[str, float] | str:
        if value == BALANCED:
            return BALANCED
        weights = list(value.values()) if isinstance(value, dict) else []
        numbers = [one for one in weights if isinstance(one, (int, float)) and not isinstance(one, bool)]
        if not weights or len(numbers) < len(weights) or not all(0 < number <= _HEAVIEST for number in numbers):
            hint = f'"{BALANCED}" nor a weight above 0 and up to {_HEAVIEST:g} for classes, like {{ yes = 5.0 }}'
            raise self.error("training", "class_weights", f"{as_written(value)} is neither {hint}")
        return MappingProxyType({str(name): float(weight) for name, weight in value.items()})

    def economics(self) -> EconomicsOptions:
        found = self.options("economics", EconomicsOptions)
        for item in fields(EconomicsOptions):
            if found != EconomicsOptions() and not getattr(found, item.name) > 0:
                raise self.error("economics", item.name, "is not above 0: write what it is, or leave the section out")
        return found

    def monitor(self, features: tuple[Feature, ...]) -> MonitorOptions:
        try:
            return MonitorOptions.of(self.section("monitor"), {feature.name: feature.type for feature in features})
        except OptionError as bad:
            raise self.error("monitor", bad.key.split(".")[0], bad.detail) from None

    def some_of(self, section: str, key: str, value: Any, known: tuple[str, ...], least: int = 1) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) < least or any(item not in known for item in value):
            raise self.error(section, key, f"a list with some of {', '.join(known)} is expected")
        return tuple(dict.fromkeys(value))

    def segments(self, value: Any) -> tuple[str, ...]:
        kinds = self.section("features")
        usable = [name for name, kind in kinds.items() if kind == "categorical"]
        if not isinstance(value, list) or any(item not in usable for item in value):
            raise self.error("gate", "segments", f"a list with some of {', '.join(usable) or 'no feature'} is expected")
        if len(value) > MOST_SEGMENTS:
            raise self.error("gate", "segments", f"{len(value)} features, at most {MOST_SEGMENTS} can be judged")
        return tuple(dict.fromkeys(value))

    def number(self, section: str, key: str, value: Any, option: Field[Any]) -> float:
        low, high = option.metadata["limits"]
        whole = isinstance(option.default, int)
        if not is_number(value, low, high, whole=whole):
            raise self.error(section, key, not_a_number(value, low, high, whole=whole))
        return int(value) if whole else float(value)

    def choice(self, section: str, key: str, allowed: tuple[str, ...]) -> str:
        value = self.document[section].get(key)
        if value not in allowed:
            found = "missing" if value is None else f"{as_written(value)} is unknown"
            raise self.error(section, key, f"{found}: write one of {', '.join(allowed)}")
        return str(value)

    def name(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or value.startswith(RESERVED):
            raise self.error(
                "model", key, f"{as_written(value)} is no column name: write the name of a column of train.csv"
            )
        return value

    def section(self, name: str, required: bool = False) -> Mapping[str, Any]:
        value = self.document.get(name)
        if value is None and not required:
            return {}
        if value is None:
            raise self.error(name, None, f"the section [{name}] is missing: add it")
        if not isinstance(value, dict):
            raise self.error(name, None, f"it is written once, as [{name}] on a line of its own, with its keys below")
        return value

    def error(self, section: str, key: str | None, message: str) -> InvalidSpec:
        """The error that points at the key, with the line where it is written, as far as that can be found."""
        where = f"[{section}]" + (f" {key}" if key else "")
        line = _line(self.text, section, key)
        return InvalidSpec(f"{self.file}{f', line {line}' if line else ''}: {where}: {message}")


_GIVES = re.compile(r"""\s*(?:[A-Za-z0-9_.\s-]+|"[^"]*"|'[^']*')+=""")


def _broken(text: str, file: str, error: str) -> InvalidSpec:
    """The error for a text that is no TOML, with its line, and what is wrong in words."""
    found = re.search(r"at line (\d+), column \d+", error)
    lines = text.split("\n")
    number = int(found.group(1)) if found else len(text.rstrip().split("\n"))
    if "overwrite" in error or "declare" in error or "twice" in error:  # it is found where the value ends
        while number > 1 and not _GIVES.match(lines[number - 1]) and not lines[number - 1].lstrip().startswith("["):
            number -= 1
        message = f"{lines[number - 1].split('=')[0].strip()} is written twice: remove one of them"
    else:
        message = f"not valid TOML, {error}: {lines[number - 1].strip()[:60]!r}"
    return InvalidSpec(f"{file}, line {number}: {message}")


def _line(text: str, section: str, key: str | None) -> int | None:
    """Number of the line that holds the key of the section, or the section's own if the key is not written."""
    at = None
    header: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        names = _names(raw.strip())
        if raw.strip().startswith("["):
            header = place = names
        else:
            place = [*header, *names] if names else []
        if place[:1] == [section]:
            if key is not None and place[1:2] == [key]:
                return number
            at = number if at is None else at
    return at


def _names(line: str) -> list[str]:
    """The names, from the outside in, that a line of TOML gives something to, [] if it does not begin with one."""
    try:
        found: Any = tomllib.loads(line)
    except ValueError:  # the first line of a value that takes several
        return [line.split("=", maxsplit=1)[0].strip().strip("\"'")] if "=" in line else []
    names = []
    while isinstance(found, dict) and len(found) == 1:
        [(name, found)] = found.items()
        names.append(name)
    return names
