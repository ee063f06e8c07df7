"""Reading captures: every documented form is read, nothing crashes, nothing good is lost."""

from __future__ import annotations

import base64
import gzip
import json
import random
from datetime import UTC, datetime
from functools import reduce

import pytest
from capture_records import line, record
from hypothesis import given
from hypothesis import strategies as st

from retrain.capture import gz, quarantine, records
from retrain.capture.quarantine import Quarantine, merge_quarantines
from retrain.capture.records import Capture, read


def read_all(*lines: bytes | str, **options) -> tuple[list[Capture], Quarantine]:
    quarantine = Quarantine()
    return list(read(lines, "a.jsonl", quarantine, **options)), quarantine


def only(*lines: bytes | str, **options) -> Capture:
    found, quarantine = read_all(*lines, **options)
    assert not quarantine.reasons
    assert len(found) == 1
    return found[0]


class TestForms:
    def test_a_csv_capture(self):
        found = only(line("34,0.51,web\n"))
        assert found == Capture(
            "5f2c", datetime(2026, 11, 22, 14, 3, 9, tzinfo=UTC), [["34", "0.51", "web"]], [["0.0713"]]
        )

    def test_the_inference_id_of_the_client_comes_before_the_event_id(self):
        assert only(line(inference_id="order-17")).id == "order-17"

    def test_several_rows_with_and_without_an_end_of_line(self):
        rows = [["1", "a"], ["2", "b"]]
        for data in ("1,a\n2,b", "1,a\n2,b\n", "1,a\r\n2,b\r\n", "1,a\n\n2,b\n"):
            assert only(line(data)).rows == rows

    def test_quotes_commas_and_newlines_within_a_value(self):
        assert only(line('1,"a, ""b""\nc"\n2,x')).rows == [["1", 'a, "b"\nc'], ["2", "x"]]

    def test_missing_values_are_empty_texts(self):
        assert only(line("1,,\n")).rows == [["1", "", ""]]

    @pytest.mark.parametrize(
        ("document", "rows"),
        [
            (
                {"instances": [{"features": [1, "a", None]}, {"features": [2.5, "b", True]}]},
                [["1", "a", ""], ["2.5", "b", "true"]],
            ),
            ({"instances": [[1, "a"], [2, "b"]]}, [["1", "a"], ["2", "b"]]),
            ({"features": [1, "a"]}, [["1", "a"]]),
            ({"features": [[1, "a"], [2, "b"]]}, [["1", "a"], ["2", "b"]]),
            ([1, "a"], [["1", "a"]]),
            ([[1, "a"], [2, "b"]], [["1", "a"], ["2", "b"]]),
        ],
    )
    def test_json_by_position(self, document, rows):
        assert only(line(json.dumps(document), encoding="JSON")).rows == rows
        assert only(line(document, encoding="JSON")).rows == rows

    @pytest.mark.parametrize(
        "document",
        [
            {"web": "x", "age": 3},
            [{"age": 3, "web": "x"}],
            {"instances": [{"age": 3, "web": "x"}]},
            {"features": {"web": "x", "age": 3}},
        ],
    )
    def test_json_by_name_in_the_models_order(self, document):
        assert only(line(json.dumps(document), encoding="JSON"), columns=("age", "web")).rows == [["3", "x"]]

    def test_json_by_name_keeps_its_names_if_no_order_is_given(self):
        found = only(line('{"web": "x", "age": 3}', encoding="JSON"))
        assert (found.names, found.rows) == (("web", "age"), [["x", "3"]])

    def test_names_that_are_missing_or_unknown_are_counted(self):
        (found,), quarantine = read_all(line('[{"web": "x", "agee": 3}]', encoding="JSON"), columns=("age", "web"))
        assert found.rows == [["", "x"]]
        assert quarantine.missing_columns == {"age": 1}
        assert (quarantine.extra_columns, quarantine.extra_rows) == ({"agee": 1}, 1)

    @given(st.lists(st.lists(st.sets(st.sampled_from("abcdefghijkl"), min_size=1), max_size=6), max_size=4))
    def test_of_too_many_unknown_names_the_same_ones_are_kept_in_any_order(self, parts):
        def counted(rows):
            return read_all(
                *(line(json.dumps(dict.fromkeys(names, 1)), encoding="JSON") for names in rows), columns=("age",)
            )[1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quarantine, "MAX_EXTRA", 3)
            quarantines = [counted(rows) for rows in parts]
            whole = counted([names for rows in parts for names in rows])
            assert reduce(merge_quarantines, quarantines, Quarantine()) == whole
            assert reduce(merge_quarantines, quarantines[::-1], Quarantine()) == whole
        rows = [names for part in parts for names in part]
        assert whole.extra_rows == len(rows)
        assert len(whole.extra_columns) <= 3
        assert all(count == sum(name in names for names in rows) for name, count in whole.extra_columns.items())
        assert whole.extra_columns.total() + whole.extra_others == sum(map(len, rows))

    def test_an_unknown_name_is_cut_and_can_be_written(self):
        names = {"x" * 10_000: 1, "\ud800": 1}
        quarantine = read_all(line(json.dumps(names), encoding="JSON"), columns=("age",))[1]
        assert sorted(map(len, quarantine.extra_columns)) == [1, 200]
        assert "".join(quarantine.extra_columns).encode()

    def test_what_was_noticed_counts_within_the_window(self):
        window = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
        odd = {"output": "{", "output_encoding": "JSON"}
        found, quarantine = read_all(line(**odd), line(**odd, time="2026-11-22T15:00:00Z"), window=window)
        assert (len(found), quarantine.notes, quarantine.unreadable_answers) == (1, {"output_not_json": 1}, 1)

    def test_json_lines(self):
        assert only(line('{"features":[1]}\n{"features":[2]}\n', encoding="JSON")).rows == [["1"], ["2"]]

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            ("34,0.51,web\n", "application/x-custom"),
            ('{"features":[34,0.51,"web"]}', "application/json; charset=utf-8"),
        ],
    )
    def test_base64(self, body, content_type):
        data = base64.b64encode(body.encode()).decode()
        assert only(line(data, encoding="BASE64", content_type=content_type)).rows == [["34", "0.51", "web"]]

    def test_input_and_output_with_different_encodings(self):
        data = base64.b64encode(b"34,0.51,web\n").decode()
        found = only(line(data, encoding="BASE64", output='{"score": 0.0713}', output_encoding="JSON"))
        assert (found.rows, found.outputs) == ([["34", "0.51", "web"]], [["0.0713"]])

    @pytest.mark.parametrize(
        "output", ['{"predictions": [0.1, 0.2]}', "[0.1, 0.2]", '{"predictions": [{"score": 0.1}, {"score": 0.2}]}']
    )
    def test_json_predictions_are_a_row_each(self, output):
        assert only(line("1,a\n2,b\n", output=output, output_encoding="JSON")).outputs == [["0.1"], ["0.2"]]

    def test_input_or_output_may_be_absent(self):
        assert only(line(None)).rows == []
        assert only(line(output=None)).outputs == []

    def test_batch_transform(self):
        assert only(line(output_key="batchTransformOutput")).outputs == [["0.0713"]]

    def test_unknown_fields_are_left_alone(self):
        document = record() | {"groundTruthData": {"data": "1"}, "new": [1]}
        document["eventMetadata"]["customAttributes"] = ["a"]
        assert only(json.dumps(document)).rows == [["34", "0.51", "web"]]

    def test_byte_order_mark_blank_lines_and_text(self):
        found, quarantine = read_all(b"\xef\xbb\xbf" + line(), b"\n", b"", b"  \r\n", "\ufeff" + line().decode())
        assert len(found) == 2
        assert quarantine.lines == 2
        assert not quarantine.reasons

    def test_only_captures_within_the_window(self):
        window = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
        times = ["2026-11-22T13:59:59Z", "2026-11-22T14:00:00Z", "2026-11-22T14:59:59.999Z", "2026-11-22T15:00:00Z"]
        found, quarantine = read_all(*(line(time=time, event_id=time) for time in times), window=window)
        assert [capture.id for capture in found] == times[1:3]
        assert quarantine.outside_window == 2


class TestQuarantine:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (line()[:-20], "not_json"),
            (b"null", "not_an_object"),
            (b"{}", "not_a_capture"),
            (b"\xff\xfe{}", "not_utf8"),
            (b"[" * 100_000, "not_json"),
            (b'{"a":' + b"9" * 5000 + b"}", "not_json"),
            (line(time="yesterday"), "bad_time"),
            (line(time="2026-11-22T14:03:09"), "bad_time"),
            (line(time=None), "no_time"),
            (line(time=17), "bad_time"),
            (line(event_id=""), "no_id"),
            (line(event_id=17), "no_id"),
            (line(None, output=None), "no_data"),
            (line(17), "no_data"),
            (line("a,b", encoding="XML"), "unknown_encoding"),
            (line("a,b", encoding=None), "unknown_encoding"),
            (line("a,b", encoding="BASE64"), "bad_base64"),
            (line("éé", encoding="BASE64"), "bad_base64"),
            (line(base64.b64encode(b"\x89PNG\xff").decode(), encoding="BASE64"), "binary_data"),
            (line("1,a", encoding="JSON"), "not_json"),
            (line('{"a": {"b": 1}}', encoding="JSON"), "nested_value"),
            (line('[[1], {"a": 1}]', encoding="JSON"), "mixed_rows"),
            (line("[[1], 2]", encoding="JSON"), "mixed_rows"),
            (line("1,\ud800"), "bad_unicode"),
            (line(r'["\ud800"]', encoding="JSON"), "bad_unicode"),
            (line(event_id="\ud800"), "bad_unicode"),
            (line('1,"' + "x" * 200_000 + '"'), "bad_csv"),
        ],
    )
    def test_a_bad_line_is_named_and_the_next_one_is_read(self, bad, reason):
        found, quarantine = read_all(line(), bad, line())
        assert len(found) == 2
        assert dict(quarantine.reasons) == {reason: 1}
        assert quarantine.lines == 3
        assert quarantine.bad_share == pytest.approx(1 / 3)
        assert [(bad.source, bad.line, bad.reason) for bad in quarantine.examples] == [("a.jsonl", 2, reason)]

    def test_nothing_of_the_content_is_kept(self):
        _, quarantine = read_all(b"{secret", line("secret", encoding="JSON"), line("secret!", encoding="BASE64"))
        assert quarantine.bad == 3
        assert "secret" not in repr(quarantine)

    def test_an_unreadable_answer_does_not_cost_the_question(self):
        (found,), quarantine = read_all(line(output="no json", output_encoding="JSON"))
        assert found.rows == [["34", "0.51", "web"]]
        assert not quarantine.reasons
        assert quarantine.notes == {"output_not_json": 1}

    def test_examples_are_bounded_and_counts_are_not(self):
        _, quarantine = read_all(*[b"{"] * 1000)
        assert quarantine.bad == 1000
        assert len(quarantine.examples) == 100

    @pytest.mark.slow
    def test_ten_megabytes_in_a_line_are_read(self):
        assert len(only(line("34,0.51,web\n" * 900_000)).rows) == 900_000

    def test_a_line_beyond_the_limit_is_dropped_while_it_is_read(self, monkeypatch):
        monkeypatch.setattr(gz, "MAX_LINE", 1000)
        monkeypatch.setattr(records, "MAX_LINE", 1000)
        chunks = [line(), *[b"x" * 300] * 10, b"\n", line()]
        found, quarantine = read_all(*gz.lines(chunks))
        assert len(found) == 2
        assert quarantine.reasons == {"line_too_long": 1}


class TestGzip:
    LINES = b"".join(line(event_id=str(number)) for number in range(500))

    @pytest.mark.parametrize("size", [1, 7, 100_000])
    def test_is_recognised_by_content(self, size):
        packed = (
            gzip.compress(self.LINES[:4000]) + gzip.compress(self.LINES[4000:]) + b"\0" * 20
        )  # two members, padding
        chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
        found, quarantine = read_all(*gz.lines(chunks))
        assert [capture.id for capture in found] == [str(number) for number in range(500)]
        assert not quarantine.reasons

    def test_lines_of_a_file_opened_in_binary_mode_will_do(self):
        packed = gzip.compress(self.LINES)
        found, quarantine = read_all(*packed.splitlines(keepends=True))
        assert len(found) == 500
        assert not quarantine.reasons

    @pytest.mark.parametrize("damage", ["cut", "flipped"])
    def test_damage_is_counted_and_what_was_unpacked_before_is_read(self, damage):
        packed = bytearray(gzip.compress(self.LINES, mtime=0))
        if damage == "cut":
            del packed[len(packed) * 3 // 4 :]
        else:
            packed[-6] ^= 0xFF  # the checksum
        found, quarantine = read_all(*gz.lines([bytes(packed)]))
        assert [capture.id for capture in found] == [str(number) for number in range(len(found))]
        assert len(found) > 300 if damage == "cut" else len(found) <= 500
        assert quarantine.reasons["damaged_gzip"] == 1

    @pytest.mark.parametrize("size", [0, 1, 2**22 - 1, 2**22, 2**22 + 1, 3 * 2**22])
    def test_what_is_packed_tightly_is_unpacked_to_its_end(self, size):
        found = sum(map(len, gz._inflate([gzip.compress(b"a" * size)])))
        assert found == size


class TestAnything:
    @given(st.lists(st.one_of(st.binary(max_size=200), st.text(max_size=100))))
    def test_never_crashes(self, lines):
        found, quarantine = read_all(*lines)
        assert len(found) + quarantine.bad <= len(lines) + quarantine.reasons["damaged_gzip"] + sum(
            element.count("\n") if isinstance(element, str) else element.count(b"\n") for element in lines
        )

    @given(st.lists(st.binary(max_size=60).filter(lambda junk: b"\n" not in junk and not junk.startswith(b"\x1f\x8b"))))
    def test_never_loses_a_good_line(self, junk):
        mixed = [part for number, bad in enumerate(junk) for part in (bad, line(event_id=str(number)))]
        found, _ = read_all(*gz.lines([b"\n".join(part.rstrip(b"\n") for part in mixed)]))
        assert [capture.id for capture in found] == [str(number) for number in range(len(junk))]

    @given(st.binary(max_size=400), st.integers(1, 50))
    def test_lines_are_the_bytes_between_newlines(self, content, size):
        if content.startswith(b"\x1f\x8b"):
            content = b"-" + content
        chunks = [content[start : start + size] for start in range(0, len(content), size)]
        expected = content.split(b"\n")
        assert list(gz.lines(chunks)) == (expected if expected[-1] else expected[:-1])

    @given(
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=4),
                st.dictionaries(st.sampled_from(["instances", "features", "predictions", "a", "b"]), inner, max_size=4),
            ),
            max_leaves=12,
        ),
        st.sampled_from(["CSV", "JSON", "BASE64"]),
    )
    def test_any_json_is_read_or_quarantined(self, document, encoding):
        for data in (document, json.dumps(document)):
            found, quarantine = read_all(line(data, encoding=encoding, output=data, output_encoding=encoding))
            assert len(found) + quarantine.bad == 1
            for row in (row for item in found for row in item.rows):
                assert all(isinstance(value, str) for value in row)

    def test_ten_thousand_mutated_lines(self):
        chance = random.Random(7)
        good = [line(), line('{"instances":[{"features":[1,"a"]}]}', encoding="JSON"), line("MSxh", encoding="BASE64")]
        lines = []
        for number in range(10_000):
            mutated = bytearray(good[number % 3].rstrip())
            for _ in range(chance.randint(1, 4)):
                place = chance.randrange(len(mutated))
                match chance.randrange(4):
                    case 0:
                        mutated[place] = chance.randrange(256)
                    case 1:
                        del mutated[place : place + chance.randrange(20)]
                    case 2:
                        mutated[place:place] = chance.randbytes(3)
                    case 3:
                        mutated[place:place] = mutated[chance.randrange(len(mutated)) :][:30]
                if not mutated:
                    break
            lines += [bytes(mutated).replace(b"\n", b" "), good[number % 3]]
        found, quarantine = read_all(*lines)
        assert len(found) >= 10_000
        assert len(found) + quarantine.bad == quarantine.lines
