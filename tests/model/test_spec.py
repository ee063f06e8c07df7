from pathlib import Path

import pytest

from demo.flights import MODEL
from retrain.core.errors import InvalidSpec
from retrain.model.read_spec import parse_spec, read_spec

SMALL = """\
[model]
label = "y"
task = "regression"
metric = "rmse"

[features]
a = "numeric"
b = "categorical"
"""


def test_a_short_file_gets_the_documented_defaults():
    spec = parse_spec(SMALL)
    assert spec.names == ("a", "b")
    assert spec.hyperparameters == {"objective": "reg:squarederror"}
    assert (spec.num_boost_round, spec.direction, spec.training.candidates) == (
        300,
        "min",
        ("continued", "scratch", "recent", "new_only"),
    )


def test_the_documented_example_says_the_defaults():
    import retrain.model.spec

    example = "\n".join(line[4:] for line in retrain.model.spec.__doc__.split("::\n", 1)[1].splitlines())
    documented, default = parse_spec(example), parse_spec(SMALL)
    assert (documented.training, documented.dataset, documented.gate, documented.monitor) == (
        default.training,
        default.dataset,
        default.gate,
        default.monitor,
    )
    assert documented.num_boost_round == default.num_boost_round


def test_a_window_of_the_default_size_has_the_holdout_that_the_gate_asks_for():
    spec = parse_spec(SMALL)
    assert spec.dataset.min_rows * spec.dataset.holdout_share >= spec.gate.min_rows


def test_the_flights_file_is_good():
    spec = parse_spec(MODEL)
    assert len(spec.features) == 15
    assert sum(feature.type == "categorical" for feature in spec.features) == 3


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("regression", "regresion"), 3, "[model] task: 'regresion' is unknown: write one of regression, binary"),
        (('"rmse"', '"auc"'), 4, "[model] metric: 'auc' is unknown: write one of rmse, mae"),
        (('metric = "rmse"\n', ""), 1, "[model] metric: missing: write one of"),
        (('"categorical"', '"date"'), 8, "[features] b: 'date' is no feature type: write one of numeric, categorical"),
        (('"categorical"', "3"), 8, "[features] b: 3 is no feature type"),
        (("b = ", '"" = '), 8, "[features]: a feature has no name"),
        (("b = ", "a = "), 8, "a is written twice: remove one of them"),
        (('b = "categorical"', "b ="), 8, "not valid TOML, Invalid value"),
        (('a = "numeric"\nb = "categorical"\n', ""), 6, "[features]: no feature: write one line for each"),
        (('"numeric"\nb = "categorical"\n', '"text"\n'), 6, "[features]: texts are ignored, and nothing else is here"),
        (('label = "y"\n', ""), 1, "[model] label: None is no column name: write the name of a column of train.csv"),
        (('task = "regression"', 'task = "regression"\ntarget = "y"'), 4, "[model] target: unknown key"),
        (('"rmse"', '"rmse"\ndirection = "max"'), 5, "direction: 'max', but a lower rmse is better: write min"),
        (("[features]", "[feature]"), 6, "[feature]: unknown section: one of model, features"),
        (("[features]", "[gate]\nmargin = [\n 1 ]\n[features]"), 7, "[gate] margin: [1] is not a number"),
        (("[features]", "[training.class_weights]\nyes = -1\n[features]"), 6, "class_weights: {'yes': -1} is neither"),
        (("b = ", "y = "), 8, "[features] y: the label cannot be a feature"),
        (("b = ", "__new = "), 8, "[features] __new: _prediction and names that begin with __ are reserved"),
        (
            ("b = ", "_prediction = "),
            8,
            "[features] _prediction: _prediction and names that begin with __ are reserved",
        ),
        (('label = "y"', "label = 3"), 2, "[model] label: 3 is no column name"),
        (('label = "y"', 'label = "  "'), 2, "[model] label: '  ' is no column name"),
        (('"rmse"', '"rmse"\ndirection = ["min"]'), 5, "direction: ['min'], but a lower rmse is better: write min"),
        (('"rmse"', '"rmse"\npositive = "yes"'), 5, "[model] positive: a regression model has no positive class"),
        (("[features]", "[[features]]"), 6, "[features]: it is written once, as [features] on a line of its own"),
        (("[model]", "model = 3\n[dataset]"), 1, "[model]: it is written once, as [model] on a line of its own"),
        (
            (SMALL.split("\n\n", maxsplit=1)[0], 'model = {label = "y", task = "regresion", metric = "rmse"}'),
            1,
            "[model] task: 'regresion' is unknown",
        ),
        (
            (SMALL.split("\n\n", maxsplit=1)[0], 'model.label = "y"\nmodel.task = "regresion"\nmodel.metric = "rmse"'),
            2,
            "[model] task: 'regresion' is unknown",
        ),
        (("[features]", "[gate]\nsegments = []\nsegments = [\n 'b',\n]\n[features]"), 8, "segments is written twice"),
        (
            ('b = "cat', 'b.c = "cat'),
            8,
            "[features] b: {'c': 'categorical'} is no feature type: write one of numeric, ca",
        ),
        (("[features]", f"[gate]\nseed = {'9' * 400}\n[features]"), 7, "[gate] seed: 9999"),
        (("[features]", f"[gate]\nseed = {'9' * 5000}\n[features]"), 7, "too many digits or brackets: write what"),
        (("[features]", f"[gate]\nseed = {'[' * 5000}\n[features]"), 7, "too many digits or brackets: write what"),
        (
            ("[features]", "[monitor]\nquality_tolerance = 3\n[features]"),
            7,
            "[monitor] quality_tolerance: 3 is not a number from 0 to 1",
        ),
        (
            ("[features]", "[monitor]\nthresholds = { c = 0.2 }\n[features]"),
            7,
            "[monitor] thresholds: 'c' is no feature",
        ),
    ],
)
def test_an_error_names_file_line_key_and_remedy(change, line, says):
    with pytest.raises(InvalidSpec) as error:
        parse_spec(SMALL.replace(*change))
    assert f"model.toml, line {line}: " in str(error.value)
    assert says in str(error.value)


def test_a_name_may_need_quotes():
    wrong = SMALL.replace("b = ", '"b = c"=').replace("categorical", "date")
    with pytest.raises(InvalidSpec, match=r"model.toml, line 8: \[features\] b = c: 'date' is no feature type"):
        parse_spec(wrong)
    assert parse_spec(wrong.replace("date", "boolean")).kinds == {"a": "numeric", "b = c": "boolean"}


def test_texts_are_known_and_ignored():
    spec = parse_spec(SMALL + 'remarks = "text"\n')
    assert (spec.names, spec.ignored) == (("a", "b"), ("remarks",))


@pytest.mark.parametrize(
    ("added", "says"),
    [
        (
            "[gate]\nmargn = 1",
            "line 11: [gate] margn: unknown key: one of policy, rules, trade_off,",
        ),
        ("[gate]\nconfidence = 95", "[gate] confidence: 95 is not a number from 0.5 to 0.9999"),
        ("[gate]\nmin_rows = 2.5", "[gate] min_rows: 2.5 is not a whole number from 2"),
        ("[gate]\nmargin = nan", "[gate] margin: nan is not a number"),
        (
            "[dataset]\nmax_reference_holdout_rows = 0",
            "line 11: [dataset] max_reference_holdout_rows: of 0 old rows the gate could not judge, it needs 100: "
            "keep as many, or write min_reference_rows = 0 into [gate]",
        ),
        (
            "[dataset]\nmax_reference_holdout_rows = 30\n[gate]\nmin_rows = 40",
            "of 30 old rows the gate could not judge, it needs 40: keep as many, or write min_reference_rows = 30",
        ),
        ("[gate]\nsegments = ['a']", "[gate] segments: a list with some of b is expected"),
        ("[gate]\nsegments = 'b'", "[gate] segments: a list with some of b is expected"),
        ("[dataset]\nholdout_share = true", "[dataset] holdout_share: True is not a number"),
        ("[training]\ncandidates = ['best']", "[training] candidates: a list with some of continued, refreshed"),
        ("[training]\nbudget = -1", "[training] budget: -1 is not a number from 0"),
        ("[economics]\ntraining_dollars = 5.0", "error_dollars: is not above 0: write what it is"),
        ("[training]\nclass_weights = 'balanced'", "class_weights: a regression has no classes: remove this line"),
        ("[training]\nclass_weights = {yes = 0}", "class_weights: {'yes': 0} is neither \"balanced\" nor a weight"),
        ("[training]\nclass_weights = {yes = true}", "class_weights: {'yes': True} is neither"),
        ("[training]\nclass_weights = 'even'", "class_weights: 'even' is neither"),
        ("[hyperparameters]\nnum_boost_round = 0", "[hyperparameters] num_boost_round: 0 is not a whole number"),
        (
            "[hyperparameters]\neta = {a = 1}",
            "line 11: [hyperparameters] eta: {'a': 1} is not a number from 1e-06 to 1",
        ),
        ("[hyperparameters]\neta = -0.1", "line 11: [hyperparameters] eta: -0.1 is not a number from 1e-06 to 1"),
        ("[hyperparameters]\nmax_depth = 2.5", "max_depth: 2.5 is not a whole number from 0 to 1e+06"),
        ("[hyperparameters]\nmax_dept = 3", "max_dept: unknown hyperparameter: did you mean max_depth?"),
        (
            "[hyperparameters]\ntree_method = true",
            "tree_method: True is unknown: write one of auto, hist, approx, exact",
        ),
        ("[hyperparameters]\ntree_method = 'foo'", "line 11: [hyperparameters] tree_method: 'foo' is unknown"),
        ("[hyperparameters]\ntree_method = 'exact'", "tree_method: exact knows neither categories nor unlimited depth"),
        ("[hyperparameters]\ngrow_policy = 'x'", "grow_policy: 'x' is unknown: write one of depthwise, lossguide"),
        ("[hyperparameters]\ndevice = 'cuda:x'", "device: 'cuda:x' is unknown: write one of cpu, cuda, gpu"),
        ("[hyperparameters]\nmonotone_constraints = [1, 0, 1]", "a list of -1, 0 or 1 is expected, for at most 2 feat"),
        ("[hyperparameters]\nmonotone_constraints = 'abc'", "monotone_constraints: 'abc': a list of -1, 0 or 1"),
        ("[hyperparameters]\nmonotone_constraints = [2]", "monotone_constraints: [2]: a list of -1, 0 or 1"),
        (
            "[hyperparameters]\ninteraction_constraints = [[0, 7]]",
            "[[0, 7]]: lists of features are expected, [[…], […]]",
        ),
        ("[hyperparameters]\ninteraction_constraints = [['a', 'c']]", "of a, b"),
        ("[hyperparameters]\nnum_class = 2", "num_class: a regression model has none: remove this line"),
        (f"[hyperparameters]\nlambda = {'9' * 400}", "is not a number from 0 to 3.40282e+38"),
        ("[hyperparameters]\nmax_cat_threshold = 0", "max_cat_threshold: 0 is not a whole number from 1"),
        (
            "[hyperparameters]\nobjective = 'reg:gamma'\nbase_score = 0",
            "base_score: 0, but reg:gamma predicts numbers ab",
        ),
        ("[hyperparameters]\neval_metric = 'mae'", "eval_metric: [model] metric is what training looks at"),
        (
            "[hyperparameters]\nobjective = 'binary:logistic'",
            "'binary:logistic' does not fit regression: write reg:squ",
        ),
        ("[dataset]\nmin_rows = -5", "line 11: [dataset] min_rows: -5 is not a whole number from 10"),
        ("[monitor]\nthreshold = -1", "line 11: [monitor] threshold: -1 is not a number from 0 to 1"),
        ("[monitor]\nthresold = 0.1", "line 11: [monitor] thresold: unknown key: one of threshold"),
        ("[monitor]\nignored = ['c']", "line 11: [monitor] ignored: 'c' is no feature"),
        ("[retraining]\na = 1", "[retraining]: unknown section: one of model, features"),
        ("[gate", "not valid TOML"),
    ],
)
def test_a_wrong_option_is_an_error(added, says):
    with pytest.raises(InvalidSpec) as error:
        parse_spec(f"{SMALL}\n{added}\n")
    assert says in str(error.value)


def test_to_do_without_old_rows_is_said_twice():
    spec = parse_spec(f"{SMALL}\n[dataset]\nmax_reference_holdout_rows = 0\n[gate]\nmin_reference_rows = 0\n")
    assert (spec.dataset.max_reference_holdout_rows, spec.gate.least_reference_rows) == (0, 0)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("[hyperparameters]\nbase_score = 5.0", "base_score: 5.0 is no probability: write a number between 0 and 1"),
        ("[hyperparameters]\nnum_class = 2", "num_class: a binary model has none: remove this line"),
        (f"[training]\nclass_weights = {{a = {'9' * 400}}}", "class_weights: {'a': 9999"),
    ],
)
def test_a_wrong_option_of_a_classifier_is_an_error(added, says):
    with pytest.raises(InvalidSpec) as error:
        parse_spec(f"{SMALL}\n{added}\n".replace("regression", "binary").replace("rmse", "auc"))
    assert says in str(error.value)


@pytest.mark.parametrize("positive", ["1", "true", '" "', "['yes']"])
def test_the_positive_class_is_a_text(positive):
    binary = SMALL.replace("regression", "binary").replace('"rmse"', f'"auc"\npositive = {positive}')
    with pytest.raises(InvalidSpec, match=r"line 5: \[model\] positive: .* is no class: write one of the label's"):
        parse_spec(binary)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("monotone_constraints = [1, -1]", "(1,-1)"),
        ("monotone_constraints = '(0, 1)'", "(0,1)"),
        ("interaction_constraints = [['b', 'a'], [0]]", "[[1, 0], [0]]"),
        ("interaction_constraints = '[[0,1]]'", "[[0, 1]]"),
        ("device = 'cuda:1'", "cuda:1"),
    ],
)
def test_constraints_are_read_as_xgboost_takes_them(written, read):
    found = parse_spec(f"{SMALL}[hyperparameters]\n{written}\n").hyperparameters
    assert found[written.split(" ")[0]] == read


def test_a_multiclass_model_needs_its_class_count():
    with pytest.raises(InvalidSpec, match="num_class is missing"):
        parse_spec(SMALL.replace("regression", "multiclass").replace("rmse", "mlogloss"))


def test_a_missing_section_is_an_error():
    with pytest.raises(InvalidSpec, match=r"the section \[features\] is missing"):
        parse_spec(SMALL.split("[features]", maxsplit=1)[0])


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(InvalidSpec, match=r"typo.toml: there is no such file: `python -m retrain init` writes"):
        read_spec(tmp_path / "typo.toml")
