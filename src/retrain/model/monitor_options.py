"""How a window is judged: the section [monitor] of model.toml, checked.

The names of the methods and the thresholds that apply where nobody chose one are here too: what is compared with them
is the affair of `retrain.drift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from retrain.core.errors import InvalidSpec

_OURS = {"psi": "PSI", "jensenshannon": "JensenShannon", "jensen_shannon": "JensenShannon"}  # Model Monitor lacks them
METHODS = MappingProxyType(
    {"simple": "Simple", "linf_simple": "Simple", "robust": "Robust", "linf_robust": "Robust", **_OURS}
)
CATEGORICAL_METHODS = MappingProxyType(
    {"linfinity": "LInfinity", "linf": "LInfinity", "chisquared": "ChiSquared", "chi_squared": "ChiSquared", **_OURS}
)
DEFAULT_THRESHOLD = 0.3
# Of methods whose unit is their own; about as much drift.
OWN_THRESHOLDS: Mapping[str, float] = MappingProxyType({"PSI": 0.25, "JensenShannon": 0.2})
UNCHOSEN = "default_thresholds"
ALPHA = 0.003  # how improbable something has to be before it is not taken for chance
MOST_DELAY = 2208  # hours, three months
TIME, ROWS = "time", "rows"
HARM, ANY = "harm", "any"
_CHOICES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "method": METHODS,
        "categorical_method": CATEGORICAL_METHODS,
        "chance": {TIME: TIME, ROWS: ROWS},
        "opens": {HARM: HARM, ANY: ANY},
    }
)
MOST_ALARMS = 365.0  # a year: one a day


class OptionError(InvalidSpec):
    """An option of [monitor] that can't be used: its key, and the remedy."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"[monitor] {key}: {detail}")
        self.key = key
        self.detail = detail


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """How a window is judged: the section [monitor] of model.toml.

    The first part becomes Model Monitor's own fields of constraints.json, the second travels beside them.
    """

    threshold: float | None = None  # distance above which a numeric feature has drifted; None: the alarm's, else 0.3
    categorical_threshold: float | None = None  # None: the same
    method: str = "Simple"  # Simple | Robust | PSI | JensenShannon
    categorical_method: str = "LInfinity"  # LInfinity | ChiSquared | PSI | JensenShannon
    thresholds: Mapping[str, float] = field(default_factory=dict)  # by feature, in the unit of its method
    methods: Mapping[str, str] = field(default_factory=dict)  # by feature
    ignored: tuple[str, ...] = ()  # features that are reported, not judged

    false_alarms_per_year: float = 0.1  # of an endpoint where nothing has changed, whatever its features and windows
    chance: str = TIME  # time | rows: what chance is learned from; rows are independent, and every odd day is drift
    p_threshold: float = ALPHA  # p-value below which ChiSquared says drift
    opens: str = ANY  # any | harm: what drift begins an episode; any feature's, or that of what the model leans on
    min_rows: int = 500  # rows below which a window is undecided
    max_bad_share: float = 0.05  # bad lines, rows or values above which the window is a case for a person
    max_missing_increase: float = 0.3  # how much more of a column may be missing than in the baseline
    max_unknown_categories: float = 0.5  # share of values outside the baseline's categories: another column, not drift
    min_volume_share: float = 0.1  # of the rows that were expected, if anybody said how many
    quality_tolerance: float = 0.25  # share by which the loss may exceed the holdout's: becomes quality's constraints
    prediction: str | int | None = None  # which of an answer's values it is: name or index; None: the only one
    label_delay_hours: float | None = None  # until labels are known, up to three months; None: the deployment's

    @classmethod
    def of(cls, section: Mapping[str, Any], features: Mapping[str, str] | None = None) -> MonitorOptions:
        """The options of a [monitor] section, checked. Raises OptionError naming the key and the remedy."""
        known = {item.name: item for item in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in section.items():
            if key not in known:
                raise OptionError(key, f"unknown key: one of {', '.join(known)} is expected")
            values[key] = _option(key, value, features)
        return cls(**values)

    @property
    def categorical(self) -> float | None:
        """The threshold of categorical features: if none was chosen the numeric one's, if that is of its unit."""
        if self.categorical_threshold is None and alike(self.method, self.categorical_method):
            return self.threshold
        return self.categorical_threshold

    @property
    def carried(self) -> dict[str, Any]:
        """The options that Model Monitor has no field for, and which of its thresholds nobody chose."""
        unchosen = {"numeric": self.threshold, "categorical": self.categorical}
        return {
            **{name: getattr(self, name) for name in CARRIED},
            UNCHOSEN: [kind for kind, value in unchosen.items() if value is None],
        }


CARRIED = (
    "false_alarms_per_year",
    "chance",
    "opens",
    "p_threshold",
    "min_rows",
    "max_bad_share",
    "max_missing_increase",
    "max_unknown_categories",
    "min_volume_share",
)


def alike(one: str, other: str) -> bool:
    """Whether the two methods' thresholds are of the same unit."""
    return one == other or not {one, other} & OWN_THRESHOLDS.keys()


_AMOUNTS = {
    "label_delay_hours": (True, MOST_DELAY, f"is not a number of hours from 0 to {MOST_DELAY}"),
    "false_alarms_per_year": (False, MOST_ALARMS, f"is not a number above 0, of at most {MOST_ALARMS}"),
}


def _amount(key: str, value: Any) -> float:
    zero, most, wanted = _AMOUNTS[key]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= most or (value == 0 and not zero):
        raise OptionError(key, f"{value!r} {wanted}")
    return float(value)


def _option(key: str, value: Any, features: Mapping[str, str] | None) -> Any:
    if key in _CHOICES:
        return _method(key, value, _CHOICES[key])
    if key in {"thresholds", "methods", "ignored"}:
        return _by_feature(key, value, features)
    if key == "prediction":
        named = isinstance(value, str) and value
        if not named and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise OptionError(key, f"{value!r} is neither the name of an answer's value nor its index from 0")
        return value
    if key == "min_rows":
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise OptionError(key, f"{value!r} is not a whole number from 1")
        return value
    if key in _AMOUNTS:
        return _amount(key, value)
    found = _share(key, value)
    if key == "p_threshold" and found in {0, 1}:
        raise OptionError(key, f"{value!r} is not between 0 and 1")
    return found


def _by_feature(key: str, value: Any, features: Mapping[str, str] | None) -> Any:
    if not isinstance(value, (list, tuple) if key == "ignored" else dict):
        wanted = "a list" if key == "ignored" else f"a table of feature = {key.removesuffix('s')}"
        raise OptionError(key, f"{wanted} is expected")
    for name in value:
        if features is not None and name not in features:
            raise OptionError(key, f"{name!r} is no feature: it is none of {', '.join(features)}")
    if key == "thresholds":
        return {name: _share(f"{key}.{name}", value[name]) for name in value}
    if key == "methods":
        return {name: _method(f"{key}.{name}", value[name], _methods_of(name, features)) for name in value}
    return tuple(value)


def _methods_of(name: str, features: Mapping[str, str] | None) -> Mapping[str, str]:
    if features is None:
        return METHODS | CATEGORICAL_METHODS
    return METHODS if features[name] == "numeric" else CATEGORICAL_METHODS


def _method(key: str, value: Any, known: Mapping[str, str]) -> str:
    found = known.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise OptionError(key, f"{value!r} is unknown: write one of {', '.join(dict.fromkeys(known.values()))}")
    return found


def _share(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise OptionError(key, f"{value!r} is not a number from 0 to 1")
    return float(value)
