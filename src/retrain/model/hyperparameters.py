"""What XGBoost 3.2 takes for boosting trees: the section [hyperparameters] of model.toml, checked.

A job that XGBoost would end after an hour with a message of its own ends here, before it begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from retrain.core.errors import InvalidSpec

MOST_ROUNDS = 100_000
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


class HyperparameterError(InvalidSpec):
    """A hyperparameter that can't be used: its key (None: the section), and the remedy."""

    def __init__(self, key: str | None, detail: str) -> None:
        super().__init__(f"[hyperparameters] {key or ''}: {detail}")
        self.key = key
        self.detail = detail


def checked(
    section: Mapping[str, Any], task: str, names: Sequence[str], categorical: bool
) -> tuple[dict[str, Any], int]:
    """What is handed to XGBoost, with the task's objective where none is said, and the most rounds of one training.

    `names` are the features in order, `categorical`: whether one of them is. Raises HyperparameterError.
    """
    values = {"objective": OBJECTIVES[task], **section}
    rounds = values.pop("num_boost_round", 300)
    if not is_number(rounds, 1, MOST_ROUNDS, whole=True):
        raise HyperparameterError("num_boost_round", not_a_number(rounds, 1, MOST_ROUNDS, whole=True))
    for key, value in section.items():
        if key in _CONSTRAINTS:
            values[key] = _constraint(key, value, names)
        elif key not in {"num_boost_round", "objective"}:
            _check(key, value)
    if values["objective"] not in OTHER_OBJECTIVES[task]:
        hint = ", ".join(OTHER_OBJECTIVES[task])
        raise HyperparameterError("objective", f"{as_written(values['objective'])} does not fit {task}: write {hint}")
    if task == "multiclass" and "num_class" not in values:
        raise HyperparameterError(None, "num_class is missing: a multiclass model needs its class count")
    _check_together(task, values, categorical)
    return values, rounds


def is_number(value: Any, low: float, high: float, *, whole: bool) -> bool:
    """Whether it is a number of that kind in [low, high]; true and false are none, nor are infinite ones."""
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high


def not_a_number(value: Any, low: float, high: float, *, whole: bool) -> str:
    """In words, that it is none of that kind in [low, high]."""
    return f"{as_written(value)} is not a {'whole number' if whole else 'number'} from {low:g} to {high:g}"


def as_written(value: Any) -> str:
    """The value as it was written, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}…"


def _check(key: str, value: Any) -> None:
    if key == "eval_metric":
        raise HyperparameterError(key, "[model] metric is what training looks at: remove this line")
    if key in _WORDS:
        known = _WORDS[key]
        numbered = isinstance(value, str) and re.fullmatch(r"(cuda|gpu):\d{1,3}", value) and key == "device"
        if value not in known and not numbered:
            raise HyperparameterError(key, f"{as_written(value)} is unknown: write one of {', '.join(known)}")
    elif key in _NUMBERS:
        whole = key in _WHOLE
        if not is_number(value, *_NUMBERS[key], whole=whole):
            raise HyperparameterError(key, not_a_number(value, *_NUMBERS[key], whole=whole))
    else:
        every = (*_NUMBERS, *_WORDS, *_CONSTRAINTS, "objective", "num_boost_round")
        near = get_close_matches(key, every, 1)
        hint = f"did you mean {near[0]}?" if near else f"XGBoost knows {', '.join(sorted(every))}"
        raise HyperparameterError(key, f"unknown hyperparameter: {hint}")


def _constraint(key: str, value: Any, names: Sequence[str]) -> str:
    """The constraint as XGBoost reads it: `(1,0,-1)`, or `[[0,2],[1]]`. A list may be written as one, too."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value.strip().replace("(", "[").replace(")", "]"))
        except (ValueError, RecursionError):
            found = None
    if key == "monotone_constraints":
        signs = isinstance(found, list) and all(is_number(sign, -1, 1, whole=True) for sign in found)
        if not signs or len(found) > len(names):
            most = f"for at most {len(names)} features, as in [1, 0, -1]"
            raise HyperparameterError(key, f"{as_written(value)}: a list of -1, 0 or 1 is expected, {most}")
        return f"({','.join(map(str, found))})"
    groups = isinstance(found, list) and all(isinstance(group, list) for group in found)
    if not groups or not all(
        item in names or is_number(item, 0, len(names) - 1, whole=True) for group in found for item in group
    ):
        which = f"some of {', '.join(names[:10])}{', …' if names[10:] else ''}"
        raise HyperparameterError(key, f"{as_written(value)}: lists of features are expected, [[…], […]]: {which}")
    return json.dumps([[names.index(item) if item in names else item for item in group] for group in found])


def _check_together(task: str, values: Mapping[str, Any], categorical: bool) -> None:
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
        raise HyperparameterError(*next(iter(wrong.items())))
