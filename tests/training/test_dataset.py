import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from houses import END, MODEL, START, requests, table
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.capture.ground_truth import Labels
from retrain.capture.quarantine import Quarantine
from retrain.capture.records import Capture
from retrain.core.errors import Refused
from retrain.model.read_spec import parse_spec
from retrain.model.table import Table, category, concat
from retrain.training.dataset import (
    NEW,
    ORIGINAL,
    PARTS,
    TIME,
    WEIGHT,
    Read,
    Reference,
    bootstrap_dataset,
    drift_dataset,
    read_reference,
    write_dataset,
)

WINDOW = (START, END)


def build(spec, reference, asked, labels, bad=None):
    return drift_dataset(spec, Read(asked, Labels(dict(labels)), bad or Quarantine()), reference, WINDOW)


def refused(spec, reference, asked, labels, bad=None):
    with pytest.raises(Refused) as refusal:
        build(spec, reference, asked, labels, bad)
    return refusal.value.code, refusal.value.detail


def test_the_window_is_split_by_time_and_the_newest_part_is_held_out(spec, reference):
    rows = table(400, seed=2)
    asked, labels = requests(rows)
    parts = build(spec, reference, asked, labels).parts
    new = parts["train"].take(np.flatnonzero(parts["train"].numbers(NEW) > 0))
    joined = np.concatenate([part.numbers("price") for part in (new, parts["validation"], parts["holdout"])])
    np.testing.assert_array_equal(joined, rows.numbers("price"))
    assert (len(new), len(parts["validation"]), len(parts["holdout"])) == (272, 48, 80)


def test_old_rows_are_rehearsed_and_old_holdouts_stay_unseen(spec, reference):
    asked, labels = requests(table(400, seed=2))
    parts = build(spec, reference, asked, labels).parts
    old = parts["train"].numbers(NEW) == 0
    assert set(parts["train"].numbers("price")[old]) <= set(reference.seen.numbers("price"))
    assert set(parts["reference"].numbers("price")) <= set(reference.unseen.numbers("price"))
    assert not set(parts["train"].numbers("price")) & set(reference.unseen.numbers("price"))
    assert parts["train"].numbers(WEIGHT)[old].tolist() == [1.0] * old.sum()
    assert set(parts["train"].numbers(WEIGHT)[~old]) == {spec.dataset.new_row_weight}


def test_the_next_reference_grows_from_this_dataset_within_its_limits(spec, reference, tmp_path):
    asked, labels = requests(table(800, seed=2))
    dataset = build(spec, reference, asked, labels)
    write_dataset(tmp_path, dataset, MODEL.encode(), "e1")
    following = read_reference(tmp_path, spec)
    assert len(following.seen) == len(dataset.parts["train"]) + len(dataset.parts["validation"])
    assert len(following.unseen) == len(dataset.parts["reference"]) + len(dataset.parts["holdout"])
    after = build(spec, following, asked, labels)
    assert after.manifest["rows"]["train_old"] == spec.dataset.max_reference_rows
    assert after.manifest["rows"]["reference"] == spec.dataset.max_reference_holdout_rows


def test_rows_of_the_first_dataset_keep_their_share_however_many_models_come_after_it(spec, reference, tmp_path):
    first = {name: set(getattr(reference, name).numbers("price")) for name in ("seen", "unseen")}
    share, limits = spec.dataset.original_share, spec.dataset
    for generation in range(1, 7):
        dataset = build(spec, reference, *requests(table(2000, seed=1 + generation)))
        write_dataset(tmp_path, dataset, MODEL.encode(), f"e{generation}")
        reference = read_reference(tmp_path, spec)
        kept = {
            name: sum(price in first[part] for price in dataset.parts[name].numbers("price"))
            for name, part in (("train", "seen"), ("reference", "unseen"))
        }
        assert {name: dataset.manifest["rows"][f"{name}_original"] for name in kept} == kept
    assert kept == {"train": share * limits.max_reference_rows, "reference": share * limits.max_reference_holdout_rows}
    assert dataset.manifest["rows"]["train_old"] == limits.max_reference_rows
    assert dataset.manifest["rows"]["reference"] == limits.max_reference_holdout_rows


def test_without_a_share_of_their_own_the_first_rows_are_thinned_like_all_others(reference, tmp_path):
    spec = parse_spec(MODEL.replace("[dataset]", "[dataset]\noriginal_share = 0.0"))
    for generation in range(1, 4):
        dataset = build(spec, reference, *requests(table(2000, seed=1 + generation)))
        write_dataset(tmp_path, dataset, MODEL.encode(), f"e{generation}")
        reference = read_reference(tmp_path, spec)
    assert 0 < dataset.manifest["rows"]["reference_original"] < 0.2 * spec.dataset.max_reference_holdout_rows


def test_in_a_dataset_of_an_older_version_the_oldest_rows_count_as_the_first(spec, reference, tmp_path):
    def unmarked(dataset, name):
        write_dataset(tmp_path / name, dataset, MODEL.encode(), name)
        for part in PARTS:
            file = tmp_path / name / f"{part}.csv"
            lines = file.read_text().splitlines()
            assert lines[0].endswith(f",{ORIGINAL},{TIME}")
            file.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
        return read_reference(tmp_path / name, spec)

    first = unmarked(bootstrap_dataset(spec, table(600, seed=1)), "first")
    assert first.seen.numbers(ORIGINAL).all()
    assert first.unseen.numbers(ORIGINAL).all()
    later = build(spec, first, *requests(table(400, seed=2)))
    found = unmarked(later, "later")
    np.testing.assert_array_equal(found.seen.numbers(ORIGINAL), found.seen.numbers(NEW) == 0)
    assert found.unseen.numbers(ORIGINAL).sum() == later.manifest["rows"]["reference_original"] == 120
    assert build(spec, found, *requests(table(400, seed=3))).manifest["rows"]["train_original"] > 0


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(40)), repeated=st.lists(st.integers(0, 39), max_size=10))
def test_the_same_captures_in_any_order_and_number_give_the_same_rows(order, repeated):
    spec = parse_spec(MODEL.replace("min_rows = 100", "min_rows = 10"))
    parts = bootstrap_dataset(spec, table(100, seed=1)).parts
    reference = Reference(parts["train"], parts["holdout"])
    asked, labels = requests(table(120, seed=2), per_request=3)
    expected = build(spec, reference, asked, labels).parts
    shuffled = [asked[index] for index in [*order, *repeated]]
    found = build(spec, reference, shuffled, labels).parts
    for part in PARTS:
        np.testing.assert_array_equal(found[part].numbers("price"), expected[part].numbers("price"))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(30, 120), same=st.integers(1, 9), missing=st.sets(st.integers(0, 119), max_size=5))
def test_nothing_trained_on_is_as_new_as_anything_held_out(rows, same, missing):
    spec = parse_spec(MODEL.replace("min_rows = 100", "min_rows = 10"))
    parts = bootstrap_dataset(spec, table(100, seed=1)).parts
    asked, labels = requests(table(rows, seed=3), per_request=same)
    labels = {key: value for number, (key, value) in enumerate(labels.items()) if number not in missing or number > 20}
    try:
        manifest = build(spec, Reference(parts["train"], parts["holdout"]), asked, labels).manifest
    except Refused as refusal:
        assert refusal.code in {"labels_insufficient", "too_few_rows"}  # noqa: PT017
        return
    spans = manifest["times"]
    assert spans["train"][1] < spans["validation"][0] <= spans["validation"][1] < spans["holdout"][0]


def test_the_same_inputs_give_the_same_bytes_and_the_manifest_their_hashes(spec, reference, tmp_path):
    asked, labels = requests(table(300, seed=2))
    for name, captures in (("a", asked), ("b", asked[::-1])):
        write_dataset(tmp_path / name, build(spec, reference, captures, labels), MODEL.encode(), "e1")
    for file in ("model.toml", "manifest.json", *(f"{part}.csv" for part in PARTS)):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert set(manifest["sha256"]) == {"model.toml", *(f"{part}.csv" for part in PARTS)}
    assert manifest["label_coverage"] == 1.0
    assert manifest["window"] == {"start": "2026-03-01T00:00:00Z", "end": "2026-03-11T00:00:00Z"}


def test_late_labels_are_left_out_while_enough_have_come(spec, reference):
    asked, labels = requests(table(400, seed=2))
    early = dict(list(labels.items())[:380])
    manifest = build(spec, reference, asked, early).manifest
    assert (manifest["rows"]["labelled"], manifest["label_coverage"]) == (380, 0.95)


def test_a_new_category_is_news_and_no_reason_to_refuse(spec, reference):
    asked, labels = requests(table(400, seed=2, towns=("Aa", "Bo", "Ce", "Du")))
    assert build(spec, reference, asked, labels).manifest["unseen_categories"] == {"town": ["Du"]}


@pytest.mark.parametrize(
    ("labels_kept", "code", "says"),
    [
        (0, "labels_insufficient", "0 of 400 rows have a label (0.0%, 80% are needed); 0 label records were read"),
        (319, "labels_insufficient", "319 of 400 rows have a label"),
    ],
)
def test_too_few_labels_are_refused(spec, reference, labels_kept, code, says):
    asked, labels = requests(table(400, seed=2))
    found, detail = refused(spec, reference, asked, dict(list(labels.items())[:labels_kept]))
    assert found == code
    assert says in detail


def test_too_few_rows_are_refused(spec, reference):
    asked, labels = requests(table(99, seed=2))
    assert refused(spec, reference, asked, labels)[0] == "too_few_rows"


def test_a_window_whose_holdout_the_gate_would_refuse_is_refused_before_it_is_trained_on(reference):
    strict = parse_spec(MODEL.replace("[gate]\nmin_rows = 20", "[gate]\nmin_rows = 60"))
    asked, labels = requests(table(300, seed=2))
    assert build(strict, reference, asked, labels).manifest["rows"]["holdout"] == 60
    asked, labels = requests(table(299, seed=2))
    assert refused(strict, reference, asked, labels) == (
        "too_few_rows",
        "of 299 labelled rows 59 would be held out ([dataset] holdout_share), and [gate] min_rows asks for 60: take a "
        "longer window",
    )


def test_a_window_without_captures_is_refused(spec, reference):
    assert refused(spec, reference, [], {}) == (
        "capture_missing",
        "no capture between 2026-03-01T00:00:00Z and 2026-03-11T00:00:00Z",
    )


def test_more_unreadable_lines_than_allowed_are_refused(spec, reference):
    asked, labels = requests(table(400, seed=2))
    bad = Quarantine(lines=425)
    bad.reasons["not_json"] = 25
    code, detail = refused(spec, reference, asked, labels, bad)
    assert code == "capture_corrupt"
    assert detail == "25 of 425 capture lines are unreadable (at most 5% may be): not_json 25"


def test_a_few_rows_that_do_not_fit_are_quarantined_and_counted(spec, reference):
    asked, labels = requests(table(400, seed=2))
    asked[3] = replace(asked[3], rows=[[*asked[3].rows[0], "more"]])
    asked[4] = replace(asked[4], rows=[["wide", "3", "Aa"]])
    labels[asked[5].id] = ("1", "2")
    labels[asked[6].id] = ("cheap",)
    manifest = build(spec, reference, asked, labels).manifest
    assert manifest["quarantined"] == {
        "captures": {},
        "labels": {"label_count": 1},
        "rows": {"bad_label": 1, "bad_value": 1, "wrong_column_count": 1},
    }
    assert manifest["rows"]["labelled"] == 396


def _changed(change):
    asked, labels = requests(table(400, seed=2))
    return [replace(request, rows=[change(row) for row in request.rows]) for request in asked], labels


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: row[:2], "400 of 400 captured rows have 2 columns, model.toml has 3: size, age, town"),
        (lambda row: [*row, "1"], "rows have 4 columns, model.toml has 3"),
        (lambda row: [row[2], row[1], row[0]], "size: 400 of 400 captured values are not numbers"),
        (lambda row: [row[0], "", row[2]], "age: no value any more, 100% of the reference's rows have one"),
        (
            lambda row: [row[0], row[1], "?" + row[2]],
            "town: 100% of the values, of 3 kinds, are unknown to the reference",
        ),
    ],
)
def test_a_changed_schema_is_refused_with_what_changed(spec, reference, change, says):
    code, detail = refused(spec, reference, *_changed(change))
    assert code == "schema_mismatch"
    assert says in detail


BINARY = parse_spec(MODEL.replace("regression", "binary").replace("rmse", "auc"))


def two_classes(rows: int = 400, seed: int = 2):
    """Houses, their requests, and whether each is dear (1) or not (0)."""
    found = table(rows, seed)
    asked, labels = requests(found)
    dear = {identity: ("1" if float(price) > 300 else "0",) for identity, (price,) in labels.items()}
    return found.having("price", category([label for (label,) in dear.values()])), asked, dear


@pytest.fixture
def classified():
    parts = bootstrap_dataset(BINARY, two_classes(600, seed=1)[0]).parts
    return Reference(concat([parts["train"], parts["validation"]]), concat([parts["reference"], parts["holdout"]]))


def test_one_class_only_is_refused(classified):
    _, asked, labels = two_classes()
    code, detail = refused(BINARY, classified, asked, dict.fromkeys(labels, ("1.0",)))
    assert (code, detail) == ("labels_insufficient", "every one of 400 labels is the same")


@pytest.mark.parametrize("word", ["NA", "nan", "<NA>"])
def test_a_word_for_a_missing_value_is_no_label(classified, word):
    _, asked, labels = two_classes()
    dataset = build(BINARY, classified, asked, {**labels, **dict.fromkeys(["r00007", "r00100", "r00399"], (word,))})
    assert dataset.manifest["quarantined"]["rows"] == {}
    assert (dataset.manifest["rows"]["labelled"], dataset.manifest["label_coverage"]) == (397, 0.9925)


@pytest.mark.parametrize("word", ["maybe", "2"])
def test_a_few_labels_of_unknown_classes_are_quarantined_and_counted(classified, word):
    _, asked, labels = two_classes()
    dataset = build(BINARY, classified, asked, {**labels, **dict.fromkeys(["r00007", "r00100", "r00399"], (word,))})
    assert dataset.manifest["quarantined"]["rows"] == {"unknown_class": 3}
    assert (dataset.manifest["rows"]["labelled"], dataset.manifest["label_coverage"]) == (397, 0.9925)
    assert {dataset.parts[part].categories("price").levels for part in ("train", "validation", "holdout")} == {
        ("0", "1")
    }


def test_many_labels_of_unknown_classes_are_another_label_and_refused_without_naming_them(classified):
    _, asked, labels = two_classes()
    new = {identity: (("maybe", "never")[n % 2],) for n, identity in enumerate(list(labels)[:21])}
    assert refused(BINARY, classified, asked, {**labels, **new}) == (
        "schema_mismatch",
        "price: 21 of 400 labels name 2 classes that are not known (at most 5% may)",
    )


def test_many_labels_that_are_no_numbers_are_refused(spec, reference):
    asked, labels = requests(table(400, seed=2))
    code, detail = refused(spec, reference, asked, {**labels, **dict.fromkeys(list(labels)[:21], ("cheap",))})
    assert (code, detail) == ("schema_mismatch", "price: 21 of 400 labels are not numbers (at most 5% may)")


def test_a_rare_class_stays_known_when_none_of_its_rows_is_left(tmp_path):
    three = parse_spec(
        MODEL.replace("regression", "multiclass").replace("rmse", "mlogloss").replace("max_d", "num_class = 3\nmax_d")
    )
    rows, asked, labels = two_classes(600, seed=1)
    names = ["rare" if n == 300 else "01"[code] for n, code in enumerate(rows.categories("price").codes)]
    first = bootstrap_dataset(three, rows.having("price", category(names)))
    for number, dataset in enumerate([first, None, None]):
        found = dataset or build(three, read_reference(tmp_path, three), asked, labels)
        write_dataset(tmp_path, found, MODEL.encode(), f"e{number}")
    assert "rare" not in read_reference(tmp_path, three).seen.categories("price").levels
    labels["r00007"] = ("rare",)
    assert (
        "rare" in build(three, read_reference(tmp_path, three), asked, labels).parts["train"].categories("price").levels
    )


def test_an_id_of_two_questions_has_no_label_and_a_repeated_question_counts_once(spec, reference):
    asked, labels = requests(table(400, seed=2))
    other = replace(asked[9], rows=asked[10].rows, time=asked[9].time + timedelta(hours=1))
    manifest = build(spec, reference, [*asked, other, asked[20], asked[20]], labels).manifest
    assert manifest["quarantined"]["rows"] == {"conflicting_capture": 2}
    assert manifest["repeated"] == {"captures": 2, "labels": 0}
    assert (manifest["rows"]["captured"], manifest["rows"]["labelled"]) == (399, 399)


def test_ids_that_mean_nothing_are_refused(spec, reference):
    asked, labels = requests(table(400, seed=2))
    assert refused(spec, reference, [replace(one, id=f"r{n // 2:05d}") for n, one in enumerate(asked)], labels) == (
        "capture_corrupt",
        "400 of 400 captured rows do not fit (at most 5% may be): conflicting_capture 400",
    )


def test_captures_without_a_row_are_refused(spec, reference):
    asked, labels = requests(table(400, seed=2))
    code, detail = refused(spec, reference, [replace(one, rows=[]) for one in asked], labels)
    assert (code, detail) == ("capture_missing", "none of 400 captures has a row")


def test_the_initial_data_is_split_in_the_order_of_its_rows(spec):
    rows = table(500, seed=1)
    parts = bootstrap_dataset(spec, rows).parts
    joined = np.concatenate([parts[name].numbers("price") for name in ("train", "validation", "holdout")])
    np.testing.assert_array_equal(joined, rows.numbers("price"))
    assert [len(parts[name]) for name in PARTS] == [340, 60, 100, 0]


def test_initial_rows_without_a_label_are_left_out(spec):
    rows = table(500, seed=1)
    price = rows.numbers("price").copy()
    price[::10] = np.nan
    assert sum(map(len, bootstrap_dataset(spec, rows.having("price", price)).parts.values())) == 450


def test_too_little_initial_data_is_refused(spec):
    with pytest.raises(Refused, match=r"too_few_rows: train.csv has 99 rows, at least 100 are needed"):
        bootstrap_dataset(spec, table(99, seed=1))


def test_initial_rows_without_a_label_do_not_count(spec):
    with pytest.raises(Refused, match=r"too_few_rows: train.csv has 0 rows with a label, at least 100 are needed"):
        bootstrap_dataset(spec, table(500, seed=1).having("price", np.full(500, np.nan)))


def test_classes_have_one_spelling():
    spec = parse_spec(MODEL.replace("regression", "binary").replace("rmse", "auc"))
    rows = table(200, seed=1)
    named = Table({**rows.columns, "price": category(["1.0", "0"] * 100)})
    assert bootstrap_dataset(spec, named).parts["train"].categories("price").levels == ("0", "1")


@pytest.mark.parametrize(("one", "other"), [("1", "01"), ("1", "+1"), ("10", "1e1")])
def test_two_spellings_of_a_number_that_are_more_than_its_fraction_are_not_taken_for_one_class(one, other):
    named = table(200, seed=1).having("price", category([one, other] * 100))
    with pytest.raises(Refused, match=r"schema_mismatch: price: two classes are the same number") as refusal:
        bootstrap_dataset(BINARY, named)
    assert repr(one) not in refusal.value.detail  # it goes where labels don't
    assert repr(other) not in refusal.value.detail


def test_a_request_is_never_on_both_sides_of_a_cut(spec, reference):
    asked = [
        Capture(
            f"r{n}",
            START + timedelta(hours=n),
            [[f"{50 + i}", f"{n}", ("Aa" if i % 2 else "Bo")] for i in range(45)],
            [],
        )
        for n in range(10)
    ]
    labels = {request.id: ("10",) * 45 for request in asked}
    manifest = build(spec, reference, asked, labels).manifest
    assert all(manifest["rows"][part] % 45 == 0 for part in ("train_new", "validation", "holdout"))


@pytest.mark.parametrize(
    ("before", "split"),
    [(0, "0 to train on, 0"), (1, "0 to train on, 1"), (3, "2 to train on, 1"), (150, "128 to train on, 22")],
)
def test_a_burst_in_one_second_cannot_be_split_by_time_and_is_refused(spec, reference, before, split):
    asked, labels = requests(table(before + 600, seed=2))
    asked = [replace(one, time=END - timedelta(days=1)) if n >= before else one for n, one in enumerate(asked)]
    code, detail = refused(spec, reference, asked, labels)
    assert code == "too_few_rows"
    assert f"{before + 600} rows of {len({one.time for one in asked})} moments can't be split by time" in detail
    assert f"{split} for validation and 600 held out" in detail


def test_a_burst_goes_to_the_newer_side_while_enough_is_left_for_the_older(spec, reference):
    asked, labels = requests(table(1000, seed=2))
    asked = [replace(one, time=END - timedelta(days=3)) if n >= 700 else one for n, one in enumerate(asked)]
    rows = build(spec, reference, asked, labels).manifest["rows"]
    assert (rows["train_new"], rows["validation"], rows["holdout"]) == (595, 105, 300)


def three_numbers(change=lambda row: row, seed=2):
    """A model of three numbers, of which two are shares of one whole, and a window in which the rows were changed."""
    spec = parse_spec(MODEL.replace('age = "numeric"\ntown = "categorical"', 'age = "numeric"\nrest = "numeric"'))
    random = np.random.default_rng(seed)

    def rows(count, changed):
        share = random.uniform(0.6, 1.0, count)
        found = np.array([changed(row) for row in zip(random.normal(30, 5, count), share, 1 - share, strict=True)])
        return Table({**dict(zip(spec.names, found.T, strict=True)), "price": random.normal(size=count)})

    parts = bootstrap_dataset(spec, rows(1000, lambda row: row)).parts
    new = rows(500, change)
    asked = [
        Capture(f"r{n:05d}", START + (END - START) * n / 500, [[repr(float(value)) for value in row]], [])
        for n, row in enumerate(zip(*(new.numbers(name) for name in spec.names), strict=True))
    ]
    return (
        spec,
        Reference(parts["train"], parts["holdout"]),
        asked,
        {one.id: (str(n % 7),) for n, one in enumerate(asked)},
    )


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda row: (row[1], row[0], row[2]), "size, age"),
        (lambda row: (row[2], row[0], row[1]), "size, rest, age"),
    ],
)
def test_numbers_that_traded_places_are_refused_by_name(change, names):
    assert refused(*three_numbers(change)) == (
        "schema_mismatch",
        f"{names}: each has the values that another of them used to have, as if they were exchanged",
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda row: (row[0] + 20, row[1], row[2]),  # drifted away
        lambda row: (row[1], row[1], row[2]),  # drifted to where another one is
        lambda row: (row[1], row[0] / 10, row[2]),  # both drifted, one to where the other was
        lambda row: (row[0], row[2], row[1]),  # shares of one whole: what was the smaller one is the larger one
    ],
)
def test_numbers_that_drifted_have_not_traded_places(change):
    assert build(*three_numbers(change))
