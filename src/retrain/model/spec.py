"""The model's specification: what `model.toml` says.

One file says everything that the loop has to know about a model that it did not invent: what goes in, in which order,
what comes out, and how a better model is told from a worse one. A complete file with every default written out::

    [model]
    label = "air_time"         # column of train.csv that is predicted
    task = "regression"        # regression | binary | multiclass
    metric = "rmse"            # main metric; rmse, mae (regression) | logloss, auc, accuracy (binary) |
                               # mlogloss, accuracy (multiclass)
    direction = "min"          # where its better values are: follows from its name, may be said, must be right
    # time = "departure"       # column of train.csv that says when a row was, no feature: ISO times or seconds since
                               # 1970. With it, the baseline knows what a day or a week does by chance
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
    candidates = ["continued", "scratch", "recent", "new_only"] # which to try, also refreshed; the best on validation
                               # is judged. Where only the newest counts: ["new_only"], and [gate] trade_off = 0
    budget = 100.0             # what they may cost together, in billions of values: rows x features x trees
    # class_weights = "balanced" is for classifiers; so is a weight for some classes, as in { yes = 5.0 }: others have 1
    early_stopping_rounds = 25
    continued_rounds = 50      # the most rounds that continuing adds
    max_rounds = 1000          # a champion with more rounds than this is not continued
    replay_share = 1.0         # old rows beside the new ones when continuing, per new row
    recent_half_life = 2.0     # windows after which a row weighs half as much in the candidate recent
    max_refit_difference = 0.25 # how far the refit may answer from the model that was judged, which else serves:
                               # root mean square in deviations of the label, or the mean difference of probabilities
    min_category_rows = 20     # a category with fewer training rows is treated like one never seen
    seed = 7
    [dataset]
    cycle_hours = 0.0          # of traffic that labels have to cover before they begin an episode. 0: a day, or a week
                               # where the rows' own times show that one day of the week is unlike another
    min_rows = 1000            # labelled rows that a drift window must have; [gate] min_rows of them must be held out
    min_label_coverage = 0.05  # share of the window's rows whose label has arrived: a sample is enough. Quality is
                               # judged by as many
    min_label_reach = 0.8      # share of the window, in tenths of its rows, to which labels have come. Those that come
                               # late are missing at its end, which matters most
    max_bad_share = 0.05       # share of unreadable lines and values
    holdout_share = 0.2        # newest part of the window: judged on, never trained on
    validation_share = 0.15    # of what is left, again the newest: early stopping, choice of the candidate
    new_row_weight = 3.0       # weight of a row of the window where an old row has 1
    max_reference_rows = 20000 # old rows that are learned from again, evenly of all earlier windows. Of each window as
                               # many are kept for those to come
    max_reference_holdout_rows = 3000 # old rows that show what is forgotten, of the newest parts of earlier windows
    original_share = 0.2       # of both, at least, rows of the first model's data: what must not be forgotten
    max_source_share = 0.9     # rows that one request may give, or one number in a column whose numbers used to differ;
                               # one category that used to be a minority and fills more is told
    max_copies = 0.5           # identical others that a row may have on average, above what the old rows let expect
    max_outlier_share = 0.01   # rows with a number ten times as far away as the old ones reach: they are left out
    max_flipped_share = 0.0    # rows in stretches of the window whose labels contradict the champion's answers
    [gate]
    policy = "insurance"       # insurance | proof. Insurance promotes what is better on the holdout at all, unless it
                               # may be a catastrophe: insane answers, suspect labels, too much given up of the old.
                               # Proof promotes what is better beyond doubt, by a margin, and worse nowhere
    # rules = []               # which of forgets_reference, degrades_segment, biased, miscalibrated keep the champion.
                               # What the others find is reported. All of them for proof, none for insurance
    trade_off = 0.25           # insurance: a challenger that loses more than it gains on the holdout, old rows counting
                               # this much, is not promoted. 0 where the old truth no longer holds
    suspect_labels = 2.0       # how many times worse than the champion was at its promotion even the better of the two
                               # may be, by the metric and beside a constant answer: above, the labels are suspect
    max_contradicted = 0.15    # classifier: share of the labels that both models may contradict where the champion is
                               # sure, above that of its own holdout: above, the labels are suspect. 1 looks away
    confidence = 0.95          # of the two-sided interval of the gain
    spans = 6                  # of the holdout, in the order of time, over which the gain has to be steady, because
                               # rows of one time are alike. 1 where they are not
    margin = 0.01              # proof: the challenger must be better by more than this share of the champion's error,
                               # of its metric, or of what its auc or accuracy lacks to 1
    reference_margin = 0.15    # on the reference it may be worse by at most this share. On a year of flights
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
    max_slowdown = 5.0         # how many times as long as the champion a challenger may take for a request, when both
                               # are asked again what the window's captures hold
    resamples = 2000
    seed = 7
    [economics]                # with it, an episode that does not pay is not begun; both are asked for
    # training_dollars = 20.0  # what an episode costs, with all that people do for it
    # error_dollars = 1000.0   # what a unit of the deciding metric's error is worth a month: of rmse or mae, or of what
                               # auc (logloss, too, goes by it) or accuracy lacks to 1
    [monitor]
    # threshold = 0.3          # distance above which a numeric feature has drifted; the alarm's unless it is written
    # categorical_threshold = 0.3
    method = "Simple"          # Simple | Robust | PSI | JensenShannon
    categorical_method = "LInfinity" # LInfinity | ChiSquared | PSI | JensenShannon
    thresholds = {}            # by feature, in the unit of its method
    methods = {}               # by feature
    false_alarms_per_year = 0.1 # of an endpoint in which nothing has changed
    chance = "time"            # time | rows: what is told from drift; with rows, every day unlike others is drift
    opens = "any"              # any | harm: what drift begins an episode; harm is drift in what the model leans on
    p_threshold = 0.003        # p-value below which ChiSquared says drift
    ignored = []               # features that are reported, not judged
    min_rows = 500             # rows below which a window is undecided
    max_bad_share = 0.05       # bad lines, rows or values above which a window is a case for a person
    max_missing_increase = 0.3 # how much more of a column may be missing than in the baseline
    max_unknown_categories = 0.5 # share of values outside the baseline's categories
    min_volume_share = 0.1     # of the rows that were expected, if anybody said how many
    quality_tolerance = 0.25   # share by which the model's errors may exceed those on its holdout before its quality
                               # has decayed
    # prediction = "score"     # which of an answer's values is the prediction, by name or index (0 is the first); an
                               # answer of one value needs no such line, nor does a softmax over the known classes
    # label_delay_hours = 24   # until a label is known: LabelDelayHours of the deployment unless it is written
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from retrain.model.monitor_options import MonitorOptions

METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "regression": ("rmse", "mae"),
        "binary": ("logloss", "auc", "accuracy"),
        "multiclass": ("mlogloss", "accuracy"),
    }
)
HIGHER_IS_BETTER = frozenset({"auc", "accuracy"})
FEATURE_TYPES = ("numeric", "categorical", "boolean", "text")
CANDIDATES = ("continued", "refreshed", "scratch", "recent", "new_only")
POLICIES = ("insurance", "proof")
GATE_RULES = ("forgets_reference", "degrades_segment", "biased", "miscalibrated")
BALANCED = "balanced"
MOST_SEGMENTS = 10  # features whose categories the gate looks at one by one
RESERVED = "__"  # names of the dataset's own columns begin with it

_SHARE = (0.0, 1.0)


def _limited(default: Any, low: float, high: float) -> Any:
    """An option: its default, and the least and the largest number that may be written."""
    return field(default=default, metadata={"limits": (low, high)})


@dataclass(frozen=True)
class Feature:
    """One input column of the model."""

    name: str
    type: str  # numeric | categorical | boolean


@dataclass(frozen=True)
class TrainingOptions:
    """How candidates are trained."""

    candidates: tuple[str, ...] = ("continued", "scratch", "recent", "new_only")
    budget: float = _limited(100.0, 0.0, 1e9)
    class_weights: Mapping[str, float] | str = field(default_factory=dict)
    early_stopping_rounds: int = _limited(25, 1, 10_000)
    continued_rounds: int = _limited(50, 1, 10_000)
    max_rounds: int = _limited(1000, 1, 100_000)
    replay_share: float = _limited(1.0, 0.0, 100.0)
    recent_half_life: float = _limited(2.0, 0.01, 1e6)
    max_refit_difference: float = _limited(0.25, 0.0, 1e9)
    min_category_rows: int = _limited(20, 1, 10**6)
    seed: int = _limited(7, 0, 2**31 - 1)


@dataclass(frozen=True)
class DatasetOptions:
    """What a drift dataset must have, and how it is split."""

    cycle_hours: float = _limited(0.0, 0.0, 8784.0)
    min_rows: int = _limited(1000, 10, 10**9)
    min_label_coverage: float = _limited(0.05, *_SHARE)
    min_label_reach: float = _limited(0.8, *_SHARE)
    max_bad_share: float = _limited(0.05, *_SHARE)
    holdout_share: float = _limited(0.2, 0.05, 0.5)
    validation_share: float = _limited(0.15, 0.05, 0.5)
    new_row_weight: float = _limited(3.0, 0.01, 1000.0)
    max_reference_rows: int = _limited(20_000, 0, 10**8)
    max_reference_holdout_rows: int = _limited(3_000, 0, 10**8)
    original_share: float = _limited(0.2, *_SHARE)
    max_source_share: float = _limited(0.9, *_SHARE)
    max_copies: float = _limited(0.5, 0.0, 1e9)
    max_outlier_share: float = _limited(0.01, *_SHARE)
    max_flipped_share: float = _limited(0.0, *_SHARE)


@dataclass(frozen=True)
class GateOptions:
    """What a challenger is insured against, or has to prove."""

    policy: str = "insurance"
    rules: tuple[str, ...] | None = None  # None: the policy's own
    trade_off: float = _limited(0.25, 0.0, 100.0)
    suspect_labels: float = _limited(2.0, 1.0, 1e9)
    max_contradicted: float = _limited(0.15, *_SHARE)
    confidence: float = _limited(0.95, 0.5, 0.9999)
    spans: int = _limited(6, 1, 1000)
    margin: float = _limited(0.01, 0.0, 1.0)
    reference_margin: float = _limited(0.15, 0.0, 100.0)
    min_rows: int = _limited(200, 2, 10**9)
    min_reference_rows: int = _limited(100, 0, 10**9)
    segments: tuple[str, ...] | None = None  # None: every categorical feature
    segment_margin: float = _limited(0.1, 0.0, 100.0)
    min_segment_rows: int = _limited(100, 20, 10**9)
    max_bias: float = _limited(0.25, 0.0, 100.0)
    max_calibration_error: float = _limited(0.1, 0.0, 100.0)
    max_slowdown: float = _limited(5.0, 1.0, 1e9)
    resamples: int = _limited(2000, 100, 100_000)
    seed: int = _limited(7, 0, 2**31 - 1)

    @property
    def active(self) -> tuple[str, ...]:
        """Which of `GATE_RULES` keep the champion."""
        return self.rules if self.rules is not None else GATE_RULES if self.policy == "proof" else ()

    @property
    def least_reference_rows(self) -> int:
        """Rows that the reference holdout must have. A champion's own holdout may have had no more than `min_rows`."""
        return min(self.min_rows, self.min_reference_rows)


@dataclass(frozen=True)
class EconomicsOptions:
    """What a training costs, and what the model's errors do. 0: nobody said it, and nothing is reckoned."""

    training_dollars: float = _limited(0.0, 0.0, 1e9)
    error_dollars: float = _limited(0.0, 0.0, 1e15)


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
    economics: EconomicsOptions = field(default_factory=EconomicsOptions)
    monitor: MonitorOptions = field(default_factory=MonitorOptions)
    ignored: tuple[str, ...] = ()
    positive: str | None = None  # of a binary task: the class whose probability is answered
    time: str | None = None  # column of the first dataset that says when a row was

    @property
    def direction(self) -> str:
        """`min` or `max`: where the main metric's better values are."""
        return "max" if self.metric in HIGHER_IS_BETTER else "min"

    @property
    def least_rows(self) -> int:
        """Labelled rows of a window that are enough: to train on, and to hold out as many as the gate asks for."""
        return max(self.dataset.min_rows, math.ceil(self.gate.min_rows / self.dataset.holdout_share))

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names in the column order of requests."""
        return tuple(feature.name for feature in self.features)

    @property
    def kinds(self) -> dict[str, str]:
        """The features' types by name, in the same order."""
        return {feature.name: feature.type for feature in self.features}
