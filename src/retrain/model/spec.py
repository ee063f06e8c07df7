"""The model's specification: `model.toml`, read and checked.

One file says everything that the loop has to know about a model that it did not invent: what goes in, in which order,
what comes out, and how a better model is told from a worse one. A complete file with every default written out::

    [model]
    label = "air_time"         # column of train.csv that is predicted
    task = "regression"        # regression | binary | multiclass
    metric = "rmse"            # main metric; rmse, mae (regression) | logloss, auc, accuracy (binary) |
                               # mlogloss, accuracy (multiclass)
    direction = "min"          # where its better values are: follows from its name, may be said, must be right
    # positive = "yes"         # binary: the class whose probability is answered. The last of the two in order (numbers
                               # by size, before words) unless it is written
    [features]                 # the order is the column order of requests and captures, texts left out
    distance = "numeric"
    carrier = "categorical"
    international = "boolean"  # true/false, yes/no, 1/0 and the like, in any spelling
    remarks = "text"           # known and ignored: never read, never stored. Requests by column name may have it
    [hyperparameters]          # for XGBoost, as they are, and:
    objective = "reg:squarederror" # binary:logistic, multi:softprob and num_class for classifiers
    num_boost_round = 300      # the most rounds that one training may add
    [training]
    candidates = ["continued", "scratch"]  # which to try, also refreshed and new_only; the best on validation is judged
    budget = 100.0             # what they may cost together, in billions of values: rows x features x trees
    # class_weights = "balanced" is for classifiers; so is a weight for some classes, as in { yes = 5.0 }: others have 1
    early_stopping_rounds = 25
    continued_rounds = 50      # the most rounds that continuing adds
    max_rounds = 1000          # a champion with more rounds than this is not continued
    replay_share = 1.0         # old rows beside the new ones when continuing, per new row
    min_category_rows = 20     # a category with fewer training rows is treated like one never seen
    seed = 7
    [dataset]
    min_rows = 1000            # labelled rows that a drift window must have; [gate] min_rows of them must be held out
    min_label_coverage = 0.8   # share of the window's rows whose label has arrived
    max_bad_share = 0.05       # share of unreadable lines and values
    holdout_share = 0.2        # newest part of the window: judged on, never trained on
    validation_share = 0.15    # of what is left, again the newest: early stopping, choice of the candidate
    new_row_weight = 3.0       # weight of a row of the window where an old row has 1
    max_reference_rows = 20000 # old rows kept for rehearsal
    max_reference_holdout_rows = 3000
    original_share = 0.2       # of both, at least, rows of the first model's dataset: what must not be forgotten
    max_source_share = 0.9     # rows that one request, or one category that used to be a minority, may give
    max_copies = 0.5           # identical others that a row may have on average, above what the old rows let expect
    max_outlier_share = 0.01   # rows with a number ten times as far away as the old ones reach: they are left out
    max_flipped_share = 0.0    # rows in stretches of the window whose labels contradict the champion's answers
    [gate]
    confidence = 0.95          # of the two-sided interval of the gain
    spans = 6                  # of the holdout, in the order of time, over which the gain has to be steady, because
                               # rows of one time are alike. 1 where they are not
    margin = 0.01              # the challenger must be better by more than this share of the champion's error: of its
                               # metric, or of what its auc or accuracy lacks to 1
    reference_margin = 0.15    # on the reference holdout it may be worse by at most this share. On a year of flights
                               # good challengers stayed below 0.06, those that forgot the winter reached 0.36. Raise
                               # it where the old truth no longer holds: there, the better model must forget it
    min_rows = 200             # holdout rows below which nothing is concluded
    min_reference_rows = 100   # the same of the reference holdout, or min_rows if they are fewer. To do without it,
                               # write 0 here and in max_reference_holdout_rows
    # segments = ["carrier"]   # categorical features whose categories are judged one by one: the first ten by default.
                               # Those that are named here have to be seen in the holdout
    segment_margin = 0.1       # the challenger may be worse on a segment by at most this share of the champion's error
    min_segment_rows = 100     # categories with fewer holdout rows are judged together
    max_bias = 0.25            # regression: the mean error may grow by at most this share of the labels' deviation
    max_calibration_error = 0.1 # classifier: the gap of predicted and observed share may grow by at most this where
                               # both classes are as frequent, of a rare one by at most 0.4 of its share
    resamples = 2000
    seed = 7
    [monitor]
    # threshold = 0.3          # distance above which a numeric feature has drifted; the alarm's unless it is written
    # categorical_threshold = 0.3
    method = "Simple"          # Simple | Robust | PSI | JensenShannon
    categorical_method = "LInfinity" # LInfinity | ChiSquared | PSI | JensenShannon
    thresholds = {}            # by feature, in the unit of its method
    methods = {}               # by feature
    p_threshold = 0.003        # p-value below which ChiSquared says drift
    ignored = []               # features that are reported, not judged
    min_rows = 500             # rows below which a window is undecided
    max_bad_share = 0.05       # bad lines, rows or values above which a window is a case for a person
    max_missing_increase = 0.3 # how much more of a column may be missing than in the baseline
    max_unknown_categories = 0.5 # share of values outside the baseline's categories
    min_volume_share = 0.1     # of the rows that were expected, if anybody said how many
    quality_tolerance = 0.25   # share by which the model's errors may exceed those on its holdout before its quality
                               # has decayed
    # label_delay_hours = 24   # until a label is known: LabelDelayHours of the deployment unless it is written
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from retrain.core.errors import InvalidSpec
from retrain.model.monitor_options import MonitorOptions, OptionError

METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "regression": ("rmse", "mae"),
        "binary": ("logloss", "auc", "accuracy"),
        "multiclass": ("mlogloss", "accuracy"),
    }
)
HIGHER_IS_BETTER = frozenset({"auc", "accuracy"})
FEATURE_TYPES = ("numeric", "categorical", "boolean", "text")
CANDIDATES = ("continued", "refreshed", "scratch", "new_only")
BALANCED = "balanced"
OBJECTIVES: Mapping[str, str] = MappingProxyType(
    {"regression": "reg:squarederror", "binary": "binary:logistic", "multiclass": "multi:softprob"}
)
OTHER_OBJECTIVES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "regression": (
            "reg:squarederror",
            "reg:absoluteerror",
            "reg:pseudohubererror",
            "reg:squaredlogerror",
            "reg:gamma",
            "reg:tweedie",
            "count:poisson",
        ),
        "binary": ("binary:logistic",),  # the answer is a probability
        "multiclass": ("multi:softprob",),  # one for each class
    }
)
MOST_SEGMENTS = 10  # features whose categories the gate looks at one by one
RESERVED = "__"  # names of the dataset's own columns begin with it

Options = TypeVar("Options")


@dataclass(frozen=True)
class Feature:
    """One input column of the model."""

    name: str
    type: str  # numeric | categorical | boolean


@dataclass(frozen=True)
class TrainingOptions:
    """How candidates are trained."""

    candidates: tuple[str, ...] = ("continued", "scratch")
    budget: float = 100.0
    class_weights: Mapping[str, float] | str = field(default_factory=dict)
    early_stopping_rounds: int = 25
    continued_rounds: int = 50
    max_rounds: int = 1000
    replay_share: float = 1.0
    min_category_rows: int = 20
    seed: int = 7


@dataclass(frozen=True)
class DatasetOptions:
    """What a drift dataset must have, and how it is split."""

    min_rows: int = 1000
    min_label_coverage: float = 0.8
    max_bad_share: float = 0.05
    holdout_share: float = 0.2
    validation_share: float = 0.15
    new_row_weight: float = 3.0
    max_reference_rows: int = 20_000
    max_reference_holdout_rows: int = 3_000
    original_share: float = 0.2
    max_source_share: float = 0.9
    max_copies: float = 0.5
    max_outlier_share: float = 0.01
    max_flipped_share: float = 0.0


@dataclass(frozen=True)
class GateOptions:
    """What a challenger has to prove."""

    confidence: float = 0.95
    spans: int = 6
    margin: float = 0.01
    reference_margin: float = 0.15
    min_rows: int = 200
    min_reference_rows: int = 100
    segments: tuple[str, ...] | None = None  # None: every categorical feature
    segment_margin: float = 0.1
    min_segment_rows: int = 100
    max_bias: float = 0.25
    max_calibration_error: float = 0.1
    resamples: int = 2000
    seed: int = 7

    @property
    def least_reference_rows(self) -> int:
        """Rows that the reference holdout must have. A champion's own holdout may have had no more than `min_rows`."""
        return min(self.min_rows, self.min_reference_rows)


@dataclass(frozen=True)
class Spec:
    """A model as its owner describes it. `ignored` are texts: columns of the data that the model never gets to see."""

    label: str
    task: str
    metric: str
    features: tuple[Feature, ...]
    hyperparameters: Mapping[str, Any]
    num_boost_round: int
    training: TrainingOptions = field(default_factory=TrainingOptions)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    monitor: MonitorOptions = field(default_factory=MonitorOptions)
    ignored: tuple[str, ...] = ()
    positive: str | None = None  # of a binary task: the class whose probability is answered

    @property
    def direction(self) -> str:
        """`min` or `max`: where the main metric's better values are."""
        return "max" if self.metric in HIGHER_IS_BETTER else "min"

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names in the column order of requests."""
        return tuple(feature.name for feature in self.features)

    @property
    def kinds(self) -> dict[str, str]:
        """The features' types by name, in the same order."""
        return {feature.name: feature.type for feature in self.features}


# The limits of numeric options: (lowest, highest, both ends allowed).
_SHARE = (0.0, 1.0)
_HEAVIEST = 1e6  # weight of a class
# What XGBoost 3.2 takes for boosting trees, and the numbers it takes for it: (lowest, highest).
_SHARE_OF_SOME = (1e-6, 1.0)
_HIGHEST = 3.4028234663852886e38  # it computes in float32
_ANY, _POSITIVE = (-_HIGHEST, _HIGHEST), (0.0, _HIGHEST)
_NUMBERS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        **dict.fromkeys(("eta", "learning_rate"), _SHARE_OF_SOME),
        **dict.fromkeys(("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode"), _SHARE_OF_SOME),
        **dict.fromkeys(("gamma", "min_split_loss", "min_child_weight", "max_delta_step"), _POSITIVE),
        **dict.fromkeys(("lambda", "reg_lambda", "alpha", "reg_alpha", "scale_pos_weight"), _POSITIVE),
        **dict.fromkeys(("max_depth", "max_leaves", "nthread"), (0, 10**6)),
        "max_bin": (2, 10**6),
        "num_parallel_tree": (1, 10**4),
        "max_cat_to_onehot": (0, 10**6),
        "max_cat_threshold": (1, 10**6),
        "max_cached_hist_node": (1, 10**9),
        "num_class": (2, 10**4),
        "base_score": _ANY,
        "huber_slope": (1e-12, _HIGHEST),
        "tweedie_variance_power": (1.0, 2.0),
        "seed": (0, 2**31 - 1),
    }
)
_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tree_method": ("auto", "hist", "approx", "exact"),
        "grow_policy": ("depthwise", "lossguide"),
        "sampling_method": ("uniform", "gradient_based"),
        "multi_strategy": ("one_output_per_tree", "multi_output_tree"),
        "device": ("cpu", "cuda", "gpu"),
    }
)
_CONSTRAINTS = ("monotone_constraints", "interaction_constraints")
_WHOLE = frozenset(
    [
        "max_depth",
        "max_leaves",
        "nthread",
        "max_bin",
        "num_parallel_tree",
        "max_cat_to_onehot",
        "max_cat_threshold",
        "max_cached_hist_node",
        "num_class",
        "seed",
    ]
)
_LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "training.budget": (0.0, 1e9),
        "training.early_stopping_rounds": (1, 10_000),
        "training.continued_rounds": (1, 10_000),
        "training.max_rounds": (1, 100_000),
        "training.replay_share": (0.0, 100.0),
        "training.min_category_rows": (1, 10**6),
        "training.seed": (0, 2**31 - 1),
        "dataset.min_rows": (10, 10**9),
        "dataset.min_label_coverage": _SHARE,
        "dataset.max_bad_share": _SHARE,
        "dataset.holdout_share": (0.05, 0.5),
        "dataset.validation_share": (0.05, 0.5),
        "dataset.new_row_weight": (0.01, 1000.0),
        "dataset.max_reference_rows": (0, 10**8),
        "dataset.max_reference_holdout_rows": (0, 10**8),
        "dataset.original_share": _SHARE,
        "dataset.max_source_share": _SHARE,
        "dataset.max_copies": (0.0, 1e9),
        "dataset.max_outlier_share": _SHARE,
        "dataset.max_flipped_share": _SHARE,
        "gate.confidence": (0.5, 0.9999),
        "gate.spans": (1, 1000),
        "gate.margin": (0.0, 1.0),
        "gate.reference_margin": (0.0, 100.0),
        "gate.min_rows": (2, 10**9),
        "gate.min_reference_rows": (0, 10**9),
        "gate.segment_margin": (0.0, 100.0),
        "gate.min_segment_rows": (20, 10**9),
        "gate.max_bias": (0.0, 100.0),
        "gate.max_calibration_error": (0.0, 100.0),
        "gate.resamples": (100, 100_000),
        "gate.seed": (0, 2**31 - 1),
    }
)


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
    return _Reader(text, file, document).spec()


@dataclass(frozen=True)
class _Reader:
    """A parsed document together with the text that it came from, for errors that say where."""

    text: str
    file: str
    document: Mapping[str, Any]

    def spec(self) -> Spec:
        known = ("model", "features", "hyperparameters", "training", "dataset", "gate", "monitor")
        for name in self.document:
            if name not in known:
                raise self.error(name, None, f"unknown section: one of {', '.join(known)} is expected")
        model = self.section("model", required=True)
        for key in model:
            if key not in {"label", "task", "metric", "direction", "positive"}:
                raise self.error("model", key, "unknown key: label, task, metric, direction and positive are expected")
        task = self.choice("model", "task", tuple(METRICS))
        metric = self.choice("model", "metric", METRICS[task])
        label = self.name("label", model.get("label"))
        self.direction(metric)
        features, ignored = self.features(label)
        dataset, gate = self.options("dataset", DatasetOptions), self.options("gate", GateOptions)
        self.reference(dataset.max_reference_holdout_rows, gate.least_reference_rows)
        hyperparameters, rounds = self.hyperparameters(task, features)
        return Spec(
            label=label,
            task=task,
            metric=metric,
            features=features,
            hyperparameters=MappingProxyType(hyperparameters),
            num_boost_round=rounds,
            training=self.training(task),
            dataset=dataset,
            gate=gate,
            monitor=self.monitor(features),
            ignored=ignored,
            positive=self.positive(task),
        )

    def positive(self, task: str) -> str | None:
        said = self.document["model"].get("positive")
        if said is not None and task != "binary":
            raise self.error("model", "positive", f"a {task} model has no positive class: remove this line")
        if said is not None and (not isinstance(said, str) or not said.strip()):
            raise self.error("model", "positive", f"{_said(said)} is no class: write one of the label's, in quotes")
        return said

    def direction(self, metric: str) -> None:
        said, right = self.document["model"].get("direction"), "max" if metric in HIGHER_IS_BETTER else "min"
        if said is not None and said != right:
            better = "higher" if right == "max" else "lower"
            raise self.error(
                "model",
                "direction",
                f"{_said(said)}, but a {better} {metric} is better: write {right}, or remove this line",
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
                raise self.error("features", name, f"{_said(kind)} is no feature type: {hint}")
            if name == label:
                raise self.error("features", name, "the label cannot be a feature: remove this line")
            if not name.strip():
                raise self.error("features", name, "a feature has no name: write the name of a column of train.csv")
            if name.startswith(RESERVED):
                raise self.error("features", name, f"names that begin with {RESERVED} are reserved: rename the column")
        used = tuple(Feature(name, kind) for name, kind in section.items() if kind != "text")
        if not used:
            raise self.error("features", None, "texts are ignored, and nothing else is here: add a feature")
        return used, tuple(name for name, kind in section.items() if kind == "text")

    def hyperparameters(self, task: str, features: tuple[Feature, ...]) -> tuple[dict[str, Any], int]:
        section = self.section("hyperparameters")
        values = {"objective": OBJECTIVES[task], **section}
        rounds = values.pop("num_boost_round", 300)
        if not _number(rounds, 1, 100_000, whole=True):
            raise self.bad_number("hyperparameters", "num_boost_round", 1, 100_000, whole=True)
        for key, value in section.items():
            if key in _CONSTRAINTS:
                values[key] = self.constraint(key, value, [feature.name for feature in features])
            elif key not in {"num_boost_round", "objective"}:
                self.hyperparameter(key, value)
        if values["objective"] not in OTHER_OBJECTIVES[task]:
            hint = ", ".join(OTHER_OBJECTIVES[task])
            raise self.error(
                "hyperparameters", "objective", f"{_said(values['objective'])} does not fit {task}: write {hint}"
            )
        if task == "multiclass" and "num_class" not in values:
            raise self.error("hyperparameters", None, "num_class is missing: a multiclass model needs its class count")
        self.combined(task, values, any(feature.type == "categorical" for feature in features))
        return values, rounds

    def hyperparameter(self, key: str, value: Any) -> None:
        if key == "eval_metric":
            raise self.error("hyperparameters", key, "[model] metric is what training looks at: remove this line")
        if key in _WORDS:
            known = _WORDS[key]
            numbered = isinstance(value, str) and re.fullmatch(r"(cuda|gpu):\d{1,3}", value) and key == "device"
            if value not in known and not numbered:
                raise self.error("hyperparameters", key, f"{_said(value)} is unknown: write one of {', '.join(known)}")
        elif key in _NUMBERS:
            whole = key in _WHOLE
            if not _number(value, *_NUMBERS[key], whole=whole):
                raise self.bad_number("hyperparameters", key, *_NUMBERS[key], whole=whole)
        else:
            every = (*_NUMBERS, *_WORDS, *_CONSTRAINTS, "objective", "num_boost_round")
            near = get_close_matches(key, every, 1)
            hint = f"did you mean {near[0]}?" if near else f"XGBoost knows {', '.join(sorted(every))}"
            raise self.error("hyperparameters", key, f"unknown hyperparameter: {hint}")

    def constraint(self, key: str, value: Any, names: list[str]) -> str:
        """The constraint as XGBoost reads it: `(1,0,-1)`, or `[[0,2],[1]]`. A list may be written as one, too."""
        found = value
        if isinstance(value, str):
            try:
                found = json.loads(value.strip().replace("(", "[").replace(")", "]"))
            except (ValueError, RecursionError):
                found = None
        if key == "monotone_constraints":
            signs = isinstance(found, list) and all(_number(sign, -1, 1, whole=True) for sign in found)
            if not signs or len(found) > len(names):
                most = f"for at most {len(names)} features, as in [1, 0, -1]"
                raise self.error("hyperparameters", key, f"{_said(value)}: a list of -1, 0 or 1 is expected, {most}")
            return f"({','.join(map(str, found))})"
        groups = isinstance(found, list) and all(isinstance(group, list) for group in found)
        if not groups or not all(
            item in names or _number(item, 0, len(names) - 1, whole=True) for group in found for item in group
        ):
            which = f"some of {', '.join(names[:10])}{', …' if names[10:] else ''}"
            raise self.error(
                "hyperparameters", key, f"{_said(value)}: lists of features are expected, [[…], […]]: {which}"
            )
        return json.dumps([[names.index(item) if item in names else item for item in group] for group in found])

    def combined(self, task: str, values: Mapping[str, Any], categorical: bool) -> None:
        """Raises where hyperparameters do not fit the task, the features or each other."""
        wrong: dict[str, str] = {}
        if task != "multiclass" and "num_class" in values:
            wrong["num_class"] = f"a {task} model has none: remove this line"
        if task == "binary" and not 0 < values.get("base_score", 0.5) < 1:
            wrong["base_score"] = f"{values['base_score']!r} is no probability: write a number between 0 and 1"
        if values["objective"] == "reg:gamma" and values.get("base_score", 0.5) <= 0:
            wrong["base_score"] = f"{values['base_score']!r}, but reg:gamma predicts numbers above 0: write one"
        if values.get("tree_method") == "exact" and (categorical or values.get("max_depth") == 0):
            wrong["tree_method"] = "exact knows neither categories nor unlimited depth: write hist"
        if values.get("multi_strategy") == "multi_output_tree" and task == "multiclass" and categorical:
            wrong["multi_strategy"] = "multi_output_tree knows no categories: write one_output_per_tree"
        if wrong:
            raise self.error("hyperparameters", *next(iter(wrong.items())))

    def options(self, name: str, kind: type[Options]) -> Options:
        section = self.section(name)
        types = {item.name: item.default for item in fields(kind)}  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        for key, value in section.items():
            if key not in types:
                raise self.error(name, key, f"unknown key: one of {', '.join(types)} is expected")
            if key == "candidates":
                values[key] = self.candidates(value)
            elif key == "segments":
                values[key] = self.segments(value)
            elif key == "class_weights":
                values[key] = self.class_weights(value)
            else:
                values[key] = self.number(name, key, value, types[key])
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
            raise self.error("training", "class_weights", f"{_said(value)} is neither {hint}")
        return MappingProxyType({str(name): float(weight) for name, weight in value.items()})

    def monitor(self, features: tuple[Feature, ...]) -> MonitorOptions:
        try:
            return MonitorOptions.of(self.section("monitor"), {feature.name: feature.type for feature in features})
        except OptionError as bad:
            raise self.error("monitor", bad.key.split(".")[0], bad.detail) from None

    def candidates(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or any(item not in CANDIDATES for item in value):
            raise self.error("training", "candidates", f"a list with some of {', '.join(CANDIDATES)} is expected")
        return tuple(dict.fromkeys(value))

    def segments(self, value: Any) -> tuple[str, ...]:
        kinds = self.section("features")
        usable = [name for name, kind in kinds.items() if kind == "categorical"]
        if not isinstance(value, list) or any(item not in usable for item in value):
            raise self.error("gate", "segments", f"a list with some of {', '.join(usable) or 'no feature'} is expected")
        if len(value) > MOST_SEGMENTS:
            raise self.error("gate", "segments", f"{len(value)} features, at most {MOST_SEGMENTS} can be judged")
        return tuple(dict.fromkeys(value))

    def number(self, section: str, key: str, value: Any, default: object) -> float:
        low, high = _LIMITS[f"{section}.{key}"]
        whole = isinstance(default, int)
        if not _number(value, low, high, whole=whole):
            raise self.bad_number(section, key, low, high, whole=whole)
        return int(value) if whole else float(value)

    def bad_number(self, section: str, key: str, low: float, high: float, *, whole: bool) -> InvalidSpec:
        kind, value = "whole number" if whole else "number", self.document[section][key]
        return self.error(section, key, f"{_said(value)} is not a {kind} from {low:g} to {high:g}")

    def choice(self, section: str, key: str, allowed: tuple[str, ...]) -> str:
        value = self.document[section].get(key)
        if value not in allowed:
            found = "missing" if value is None else f"{_said(value)} is unknown"
            raise self.error(section, key, f"{found}: write one of {', '.join(allowed)}")
        return str(value)

    def name(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or value.startswith(RESERVED):
            raise self.error("model", key, f"{_said(value)} is no column name: write the name of a column of train.csv")
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


def _number(value: Any, low: float, high: float, *, whole: bool) -> bool:
    """Whether it is a number of that kind in [low, high]; true and false are none, nor are infinite ones."""
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high


def _said(value: Any) -> str:
    """The value as it was written, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}…"


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
