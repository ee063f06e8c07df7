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
from retrain.model.table import Table, category
from retrain.training.cycle import partial
from retrain.training.dataset import (
    AGE,
    HELD,
    ORIGINAL,
    PARTS,
    TIME,
    Read,
    bootstrap_dataset,
    drift_dataset,
    read_reference,
    write_dataset,
)
from retrain.training.history import read_history, reference_of, write_rows

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
    new = parts["train"].take(np.flatnonzero(parts["train"].numbers(AGE) == 0))
    joined = np.concatenate([part.numbers("price") for part in (new, parts["validation"], parts["holdout"])])
    np.testing.assert_array_equal(joined, rows.numbers("price"))
    assert (len(new), len(parts["validation"]), len(parts["holdout"])) == (272, 48, 80)


def test_a_window_shorter_than_the_cycle_that_model_toml_asks_for_is_called_partial(spec, reference):
    asked = replace(spec, dataset=replace(spec.dataset, cycle_hours=5000.0))
    found = build(asked, reference, *requests(table(400, seed=2))).manifest["cycle"]
    assert (found["hours"], found["asked"]) == (5000.0, True)
    assert "the rest of the cycle of 5000 hours" in partial(found)[0]


def test_old_rows_are_those_of_earlier_windows_each_with_its_age(spec, reference):
    second = build(spec, reference, *requests(table(400, seed=2)))
    dataset = build(spec, reference_of([reference_rows(reference), second.kept]), *requests(table(400, seed=3)))
    train = dataset.parts["train"]
    ages = {age: set(train.numbers("price")[train.numbers(AGE) == age]) for age in (0.0, 1.0, 2.0)}
    assert ages[2.0] <= set(reference.rows.numbers("price"))
    assert ages[1.0] <= set(second.kept.numbers("price"))
    assert all(ages.values())
    assert train.numbers(ORIGINAL).sum() == (train.numbers(AGE) == 2).sum()
    assert dataset.manifest["rows"]["train_old"] == spec.dataset.max_reference_rows


def reference_rows(reference):
    """The rows as they were kept."""
    return reference.rows.having(AGE, reference.rows.numbers(AGE) - 1)


def test_the_reference_is_of_the_newest_parts_of_earlier_windows(spec, reference):
    second = build(spec, reference, *requests(table(400, seed=2)))
    dataset = build(spec, reference_of([reference_rows(reference), second.kept]), *requests(table(400, seed=3)))
    newest = second.kept.take(np.flatnonzero(second.kept.numbers(HELD) > 0))
    assert len(newest) == 80
    found = dataset.parts["reference"]
    of_second = found.numbers("price")[found.numbers(AGE) == 1]
    assert 0 < len(of_second) == len(set(of_second) & set(newest.numbers("price")))
    assert HELD not in found.columns


def test_rows_of_the_first_window_keep_their_share_however_many_windows_come_after_it(spec, reference):
    share, limits = spec.dataset.original_share, spec.dataset
    past = [reference_rows(reference)]
    for generation in range(1, 7):
        dataset = build(spec, reference_of(past), *requests(table(2000, seed=1 + generation)))
        past.append(dataset.kept)
    rows = dataset.manifest["rows"]
    assert rows["train_original"] == share * limits.max_reference_rows
    assert rows["reference_original"] == share * limits.max_reference_holdout_rows
    assert (rows["train_old"], rows["reference"]) == (limits.max_reference_rows, limits.max_reference_holdout_rows)
    assert len(dataset.kept) == limits.max_reference_rows


def test_without_a_share_of_their_own_the_first_rows_are_thinned_like_all_others(reference):
    spec = parse_spec(MODEL.replace("[dataset]", "[dataset]\noriginal_share = 0.0"))
    past = [reference_rows(reference)]
    for generation in range(1, 7):
        dataset = build(spec, reference_of(past), *requests(table(2000, seed=1 + generation)))
        past.append(dataset.kept)
    assert 0 < dataset.manifest["rows"]["reference_original"] < 0.2 * spec.dataset.max_reference_holdout_rows


def test_where_no_window_was_kept_the_champions_dataset_stands_in_and_is_kept_itself(spec, tmp_path):
    write_dataset(tmp_path, bootstrap_dataset(spec, table(600, seed=1)), MODEL.encode(), "e1")
    past = read_reference(tmp_path, spec)
    read = Read(*labelled(requests(table(400, seed=2))))
    begun = drift_dataset(spec, read, past, WINDOW, begins=True)
    both = set(past.rows.numbers("price")) | set(table(400, seed=2).numbers("price"))
    assert both == set(begun.kept.numbers("price"))
    following = build(spec, reference_of([begun.kept]), *requests(table(400, seed=3)))
    assert set(following.parts["train"].numbers(AGE)) == {0.0, 1.0, 2.0}
    assert following.manifest["rows"]["train_original"] >= 0.2 * spec.dataset.max_reference_rows


def labelled(asked_and_labels):
    asked, labels = asked_and_labels
    return asked, Labels(dict(labels))


def test_in_a_dataset_of_an_older_version_the_oldest_rows_count_as_the_first(spec, reference, tmp_path):
    def older(dataset, name):
        write_dataset(tmp_path / name, dataset, MODEL.encode(), name)
        for part in PARTS:
            file = tmp_path / name / f"{part}.csv"
            header, *lines = file.read_text().splitlines()
            assert header.endswith(f",{AGE},{ORIGINAL},{TIME}")
            columns = [line.rsplit(",", 3) for line in lines]
            texts = [f"{rest},1,{int(age == '0')}" for rest, age, *_ in columns]
            file.write_text("\n".join([header.replace(f"{AGE},{ORIGINAL},{TIME}", "__weight,__new"), *texts, ""]))
        return read_reference(tmp_path / name, spec)

    assert older(bootstrap_dataset(spec, table(600, seed=1)), "first").rows.numbers(ORIGINAL).all()
    found = older(build(spec, reference, *requests(table(400, seed=2))), "later").rows
    np.testing.assert_array_equal(found.numbers(ORIGINAL), found.numbers(AGE) == 2)
    assert set(found.numbers(AGE)) == {1.0, 2.0}


def test_kept_rows_come_back_as_they_were_and_in_the_order_of_their_windows(spec, reference, tmp_path):
    first = bootstrap_dataset(spec, table(600, seed=1))
    second = build(spec, reference, *requests(table(400, seed=2)))
    hashes = {"later": write_rows(tmp_path / "a", second, "later"), "first": write_rows(tmp_path / "b", first, "first")}
    found, names = read_history(tmp_path, spec)
    assert names == hashes
    expected = reference_of([first.kept, second.kept]).rows
    for name in ("size", "price", AGE, ORIGINAL, HELD):
        np.testing.assert_array_equal(found.rows.numbers(name), expected.numbers(name))
    assert read_history(tmp_path / "none", spec) == (None, {})


def test_kept_rows_that_somebody_changed_are_refused(spec, tmp_path):
    write_rows(tmp_path / "w", bootstrap_dataset(spec, table(600, seed=1)), "e1")
    rows = tmp_path / "w" / "rows.csv"
    rows.write_text(rows.read_text().replace("Aa", "Bo"))
    with pytest.raises(Refused, match=r"artifact_tampered: w/rows.csv has SHA-256"):
        read_history(tmp_path, spec)
    (tmp_path / "w" / "manifest.json").write_text("{}")
    with pytest.raises(Refused, match="artifact_tampered: the rows in w have no manifest"):
        read_history(tmp_path, spec)


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(40)), repeated=st.lists(st.integers(0, 39), max_size=10))
def test_the_same_captures_in_any_order_and_number_give_the_same_rows(order, repeated):
    spec = parse_spec(MODEL.replace("min_rows = 100", "min_rows = 10"))
    reference = reference_of([bootstrap_dataset(spec, table(100, seed=1)).kept])
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
    past = reference_of([bootstrap_dataset(spec, table(100, seed=1)).kept])
    asked, labels = requests(table(rows, seed=3), per_request=same)
    labels = {key: value for number, (key, value) in enumerate(labels.items()) if number not in missing or number > 20}
    try:
        manifest = build(spec, past, asked, labels).manifest
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
        (0, "labels_insufficient", "0 of 400 rows have a label (0.0%, 5% are needed); 0 label records were read"),
        (19, "labels_insufficient", "19 of 400 rows have a label (4.8%, 5% are needed)"),
        (
            280,
            "labels_insufficient",
            "labels have come to 70% of the window (80% are needed: [dataset] min_label_reach)",
        ),
    ],
)
def test_too_few_labels_are_refused(spec, reference, labels_kept, code, says):
    asked, labels = requests(table(400, seed=2))
    found, detail = refused(spec, reference, asked, dict(list(labels.items())[:labels_kept]))
    assert found == code
    assert says in detail


def test_a_sample_of_the_labels_is_enough_where_it_reaches_to_the_window_s_end(spec, reference):
    asked, labels = requests(table(1000, seed=2))
    sampled = dict(list(labels.items())[::5])
    manifest = build(spec, reference, asked, sampled).manifest
    assert (manifest["rows"]["labelled"], manifest["label_coverage"], manifest["label_reach"]) == (200, 0.2, 1.0)
    late = dict(list(labels.items())[:320])
    assert refused(spec, reference, asked, late)[0] == "labels_insufficient"


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
        "299 labelled rows, at least 300 are needed: [dataset] min_rows are 100, and of 20% held out [gate] min_rows "
        "asks for 60. Take a longer window",
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
        (lambda row: [row[0], row[1], row[1]], "where there were none"),
        (lambda row: ["0", *row[1:]], "size: 100% of the values are one and the same, 0% of the reference's"),
    ],
)
def test_a_changed_schema_is_refused_with_what_changed(spec, reference, change, says):
    code, detail = refused(spec, reference, *_changed(change))
    assert code == "schema_mismatch"
    assert says in detail


def test_categories_that_nobody_has_seen_are_news_and_those_of_another_column_a_fault(spec, reference):
    asked, labels = _changed(lambda row: [row[0], row[1], "spring" if row[2] != "Aa" else "Aa"])
    assert build(spec, reference, asked, labels).manifest["news"] == [
        "town: 67% of the values are categories never seen before"
    ]
    two = parse_spec(MODEL.replace('town = "categorical"', 'town = "categorical"\nseason = "categorical"'))
    rows = table(600, seed=1)
    season = category([("winter", "autumn")[n % 2] for n in range(600)])
    past = reference_of([bootstrap_dataset(two, rows.having("season", season)).kept])
    swapped = [replace(one, rows=[[*row[:2], "winter", row[2]] for row in one.rows]) for one in asked]
    code, detail = refused(two, past, swapped, labels)
    assert code == "schema_mismatch"
    assert "town: 100% of the values are unknown to the reference, and known to it as values of season" in detail
    rolled = [replace(one, rows=[[*row[:2], "Aa", "spring"] for row in one.rows]) for one in asked]
    assert build(two, past, rolled, labels).manifest["news"] == [
        "town: 100% of the rows have one and the same value, 30% of the reference's have it",
        "season: 100% of the values are categories never seen before",
    ]


def test_a_column_that_is_mostly_missing_may_have_no_value_in_a_calm_window(spec):
    def thinned(rows, every):
        ages = rows.numbers("age").copy()
        ages[np.arange(len(rows)) % 100 >= every] = np.nan
        return rows.having("age", ages)

    asked, labels = requests(table(400, seed=2))
    empty = [replace(one, rows=[[row[0], "", row[2]] for row in one.rows]) for one in asked]
    sparse = reference_of([bootstrap_dataset(spec, thinned(table(600, seed=1), 23)).kept])
    assert build(spec, sparse, empty, labels).manifest["rows"]["labelled"] == 400
    often = reference_of([bootstrap_dataset(spec, thinned(table(600, seed=1), 60)).kept])
    assert refused(spec, often, empty, labels)[1].startswith("age: no value any more, 6")


def test_a_number_that_fills_a_column_is_no_fault_where_it_used_to_be_there_or_stood_still_before(spec):
    asked, labels = _changed(lambda row: ["0", *row[1:]])
    rows = table(600, seed=1)
    sizes = rows.numbers("size")
    now_and_then = np.where(np.arange(600) % 10, sizes, 0.0)
    of_the_day = np.repeat(sizes[:60], 10)
    for size in (now_and_then, of_the_day):
        past = reference_of([bootstrap_dataset(spec, rows.having("size", size)).kept])
        assert build(spec, past, asked, labels).manifest["rows"]["labelled"] == 400
    allowed = replace(spec, dataset=replace(spec.dataset, max_source_share=1.0))
    past = reference_of([bootstrap_dataset(spec, rows).kept])
    assert build(allowed, past, asked, labels).manifest["rows"]["labelled"] == 400


BINARY = parse_spec(MODEL.replace("regression", "binary").replace("rmse", "auc"))


def two_classes(rows: int = 400, seed: int = 2):
    """Houses, their requests, and whether each is dear (1) or not (0)."""
    found = table(rows, seed)
    asked, labels = requests(found)
    dear = {identity: ("1" if float(price) > 300 else "0",) for identity, (price,) in labels.items()}
    return found.having("price", category([label for (label,) in dear.values()])), asked, dear


@pytest.fixture
def classified():
    return reference_of([bootstrap_dataset(BINARY, two_classes(600, seed=1)[0]).kept])


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
    names = ["rare" if n == 305 else "01"[code] for n, code in enumerate(rows.categories("price").codes)]
    write_rows(tmp_path, bootstrap_dataset(three, rows.having("price", category(names))), "e1")
    past, _ = read_history(tmp_path, three)
    assert "rare" not in past.rows.categories("price").levels
    labels["r00007"] = ("rare",)
    assert "rare" in build(three, past, asked, labels).parts["train"].categories("price").levels


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

    past = reference_of([bootstrap_dataset(spec, rows(1000, lambda row: row)).kept])
    new = rows(500, change)
    asked = [
        Capture(f"r{n:05d}", START + (END - START) * n / 500, [[repr(float(value)) for value in row]], [])
        for n, row in enumerate(zip(*(new.numbers(name) for name in spec.names), strict=True))
    ]
    return (
        spec,
        past,
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
