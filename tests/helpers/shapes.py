"""What is read of a capture, what is told and what is refused: the cases of a test, and of a section of docs/data.md.

`make shapes` writes the section; `tests/capture/test_documented_shapes.py` holds every case against the reader, and the
section against the cases.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from capture_records import line

from retrain.capture.answers import Answers
from retrain.capture.quarantine import Quarantine, UnreadableError
from retrain.capture.records import read

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BEGIN, END = "<!-- written by make shapes -->", "<!-- until here -->"
COLUMNS = ("age", "town")
COUNTED = {"ambiguous", "other_names", "too_short", "not_json"}
ONE, TWO = "44, web", "44, web; 45, app"


class Question(NamedTuple):
    """A request's body, in that encoding: `rows` are those that are read, or the reason why none is."""

    encoding: str
    body: str
    rows: str
    words: str = ""


class Answer(NamedTuple):
    """The answers to `questions` rows; `read` are the predictions, or what is counted instead of each of them."""

    encoding: str
    body: str
    read: str
    words: str = ""
    said: str | int | None = None
    classes: tuple[str, ...] = ()
    questions: int = 1


QUESTIONS = (
    Question("CSV", "44,web\n", ONE, "rows by position"),
    Question("CSV", "44,web\r\n\r\n45,app\r\n", TWO, "blank lines are no rows"),
    Question("CSV", '"44","web"\n', ONE),
    Question("CSV", "44,\n", "44, ", "a value that is missing"),
    Question("JSON", '[44, "web"]', ONE, "a row"),
    Question("JSON", '[[44, "web"], [45, "app"]]', TWO, "rows"),
    Question("JSON", '{"instances": [[44, "web"]]}', ONE, "rows"),
    Question("JSON", '{"inputs": [[44, "web"]]}', ONE, "rows"),
    Question("JSON", '{"features": [44, "web"]}', ONE, "a row, as SageMaker's own algorithms take it"),
    Question("JSON", '{"instances": [{"features": [44, "web"]}]}', ONE, "rows"),
    Question("JSON", '{"instances": [{"data": {"features": {"values": [44, "web"]}}}]}', ONE, "rows"),
    Question("JSON", '{"age": 44, "town": "web"}', ONE, "a row by name"),
    Question("JSON", '[{"town": "web", "age": 44}]', ONE, "rows by name, put into the features' order"),
    Question("JSON", '{"age": [44, 45], "town": ["web", "app"]}', TWO, "columns"),
    Question(
        "JSON", '{"age": {"0": 44}, "town": {"0": "web"}}', ONE, "columns by row number, as pandas writes a frame"
    ),
    Question("JSON", '{"columns": ["age", "town"], "data": [[44, "web"]]}', ONE, "pandas' split"),
    Question("JSON", '{"dataframe_split": {"columns": ["age", "town"], "data": [[44, "web"]]}}', ONE, "MLflow's"),
    Question("JSON", '{"dataframe_records": [{"age": 44, "town": "web"}]}', ONE, "MLflow's"),
    Question("JSON", '{"age": 44}\n{"age": 45}', "44, ; 45, ", "JSON lines; a column that is missing is counted"),
    Question("JSON", "null\n", "", "one value, which is missing: of another width than the features, and counted"),
    Question("BASE64", "44,web\n", ONE, "CSV, packed"),
    Question("BASE64", '{"age": 44, "town": "web"}', ONE, "JSON by its content type, or by what it begins with"),
)
REFUSED = (
    Question("CSV", '44,"web\n', "bad_csv", "a quote opens and never closes"),
    Question("JSON", '{"age": 44', "not_json"),
    Question("JSON", '[[44, "web"], {"age": 45}]', "mixed_rows", "some rows name their values and some do not"),
    Question("JSON", '[[44, ["web"]]]', "nested_value", "a list or an object where a value is expected"),
    Question("JSON", '{"columns": ["age", "town"], "data": [[44]]}', "mixed_rows", "some rows are longer than others"),
    Question("BASE64", "not BASE64!", "bad_base64"),
    Question("BASE64", "\\x80\\x81", "binary_data", "an image, or anything else that is no text"),
    Question("PARQUET", "44,web", "unknown_encoding"),
)
ANSWERS = (
    Answer("CSV", "0.25\n", "0.25", "the only value of a row"),
    Answer("CSV", "0.25\n0.75\n", "0.25; 0.75", "of two rows", questions=2),
    Answer("CSV", "0.25,0.75", "0.25; 0.75", "of two rows, in one line", questions=2),
    Answer("CSV", "44,web,0.25\n", "0.25", "values that repeat the question (`JoinSource=Input`) are no part of it"),
    Answer("JSON", "0.25", "0.25"),
    Answer("JSON", "[0.25]", "0.25"),
    Answer("JSON", '{"predictions": [0.25, 0.75]}', "0.25; 0.75", "of two rows", questions=2),
    Answer("JSON", '{"predictions": [{"score": 0.25}]}', "0.25", "SageMaker's own algorithms"),
    Answer("JSON", '{"SageMakerOutput": 0.25}', "0.25", "batch transform beside its input"),
    Answer("CSV", "0.1,0.9\n", "dog", "a softmax over the baseline's classes", classes=("cat", "dog")),
    Answer("CSV", "1,0.75\n", "0.75", "its index is said: 1", said=1),
    Answer("JSON", '{"predictions": [{"label": 1, "score": 0.75}]}', "0.75", "its name is said: score", said="score"),
    Answer("CSV", "1,0.75\n", "ambiguous", "nobody said which of the values"),
    Answer(
        "JSON", '{"predictions": [{"label": 1, "p": 0.75}]}', "other_names", "its name is said: score", said="score"
    ),
    Answer("CSV", "1\n", "too_short", "its index is said: 1", said=1),
    Answer("JSON", "{", "not_json", "the request is judged all the same"),
)


def asked(case: Question) -> str:
    """What is read of the request: its rows, or the reason why there are none."""
    data = case.body
    if case.encoding == "BASE64" and case.rows == "binary_data":
        data = b64encode(b"\x80\x81").decode()
    elif case.encoding == "BASE64" and case.rows != "bad_base64":
        data = b64encode(case.body.encode()).decode()
    quarantine = Quarantine()
    found = list(read([line(data, encoding=case.encoding)], "a.jsonl", quarantine, columns=COLUMNS))
    if quarantine.reasons:
        [reason] = quarantine.reasons
        return reason
    return "; ".join(", ".join(row) for row in found[0].rows)


def answered(case: Answer) -> str:
    """The predictions of the answer to one row or two, or what is counted instead."""
    quarantine = Quarantine()
    question = "44,web\n45,app\n" if case.questions > 1 else "44,web\n"
    [capture] = read([line(question, output=case.body, output_encoding=case.encoding)], "a.jsonl", quarantine)
    if quarantine.notes:
        [note] = quarantine.notes
        return note.removeprefix("output_")
    reading = Answers(case.said, case.classes)
    found = []
    for answer in capture.outputs:
        try:
            found.append(reading.prediction(answer, capture.answer_names))
        except UnreadableError as bad:
            found.append(bad.reason)
    return "; ".join(found)


def section() -> str:
    """The section's tables: what the reader makes of every case, now."""
    table = _table(
        "| content | a request such as | read as | |",
        [(case.encoding, _shown(case.body), _rows(asked(case)), case.words) for case in QUESTIONS],
    )
    refused = _table(
        "| content | a request such as | counted as (`bad_rows`) | |",
        [(case.encoding, _shown(case.body), f"`{asked(case)}`", case.words) for case in REFUSED],
    )
    answers = _table(
        "| content | an answer such as | the prediction, or what is counted (`notes`) | |",
        [(case.encoding, _shown(case.body), _prediction(answered(case)), case.words) for case in ANSWERS],
    )
    others = "Of other requests nobody guesses; each is counted with its reason (`bad_rows` in `analysis.json`):"
    return f"{table}\n\n{others}\n\n{refused}\n\nOf answers is read:\n\n{answers}\n"


def _rows(found: str) -> str:
    return f"`{found}`" if found else "a row of one value, missing"


def _prediction(found: str) -> str:
    return f"counted: `output_{found}`" if found in COUNTED else f"`{found}`"


def _shown(body: str) -> str:
    return "`" + json.dumps(body, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("\\\\", "\\") + "`"


def _table(header: str, rows: Sequence[tuple[Any, ...]]) -> str:
    rule = "|" + " --- |" * (header.count("|") - 1)
    return "\n".join([header, rule, *("| " + " | ".join(row) + " |" for row in rows)])


def written(page: str) -> str:
    """The page with the section as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{section()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
