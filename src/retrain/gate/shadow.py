"""The shadow: the challenger answers what the endpoint was asked lately, before anybody is served by it.

The gate compares two boosters on a table. Between a booster and a client lie an encoder, an order of columns and code,
which travel in the model's archive. So both archives are served here as the container serves them, from a request's
bytes to the answer's, and asked again what the window's captures hold. Nobody waits for these answers, and no second
fleet is paid for.
"""

from __future__ import annotations

import importlib.util
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrain.capture.asked import Asked, read_asked, spread
from retrain.capture.payload import Row, decode
from retrain.core.errors import Refused
from retrain.model.serving import Model
from retrain.model.spec import GateOptions, Spec
from retrain.model.table import Column, Table, category, class_name
from retrain.model.values import parse_flags, parse_numbers
from retrain.quality.metrics import Numbers
from retrain.training.candidates import apart, encode

CODE = "fails_in_shadow"
MOST = 500  # requests that are asked again
_TIMED = 30  # requests below which a median time says nothing
_UNLIKE = 0.01  # share of rows that our reader and the serving code may read differently
_EQUAL = 1e-5  # answers are float32

Serve = Callable[[str, str, str], tuple[str, str]]  # body, its type, and the type to answer with → answer, its type


@dataclass(frozen=True)
class Shadow:
    """What came of asking both models again what the endpoint was asked.

    `asked` requests of the captures were tried, `requests` of them the champion answered again, and their `rows` both
    did. `failed` are requests that only the challenger did not answer, for the first time with the exception `error`.
    `unlike` are rows whose answer is not the one that the same model gives for the same values by their names.
    `difference` is how far both models' answers are apart: for a regression the root mean square in standard deviations
    of the champion's, for two classes the mean difference of the probability, for several the share of rows with
    another class; None without rows. Times are the median of a request's, in milliseconds.
    """

    asked: int
    requests: int
    rows: int
    failed: int
    error: str
    unlike: int
    difference: float | None
    champion_ms: float
    challenger_ms: float


class _Server:
    """A model that is served, and how long each of its answers took, in seconds."""

    def __init__(self, serve: Serve, timer: Callable[[], float]) -> None:
        self._serve, self._timer = serve, timer
        self.seconds: list[float] = []

    def answer(self, request: Asked) -> tuple[list[str], str]:
        """One answer for each row, or none and the name of what was raised."""
        begun = self._timer()
        try:
            body, kind = self._serve(request.body, request.content_type, request.accept)
            _, rows = decode({"data": body, "encoding": "JSON" if "json" in kind else "CSV"}, each_is_a_row=True)
        except Exception as error:  # noqa: BLE001  (the archive's own code may raise anything; its words may hold values)
            return [], type(error).__name__
        finally:
            self.seconds.append(self._timer() - begun)
        return ([row[0] for row in rows], "") if len(rows) == len(request.rows) else ([], "another number of answers")


def replay(
    spec: Spec,
    captures: Iterable[bytes],
    *,
    champion: Serve,
    challenger: Serve,
    judged: Model,
    timer: Callable[[], float] = time.perf_counter,
) -> Shadow:
    """Both answer at most `MOST` requests, evenly spread over the lines of the captures.

    `judged` is what the challenger's archive serves, as it is loaded to be judged.
    """
    asked = [request for line in spread(captures, MOST) if (request := read_asked(line, spec.names)) is not None]
    old, new = _Server(champion, timer), _Server(challenger, timer)
    errors: list[str] = []
    rows: list[Row] = []
    before: list[str] = []
    after: list[str] = []
    requests = 0
    for request in asked:
        known, refused = old.answer(request)
        if refused:  # what the champion does not answer either tells nothing
            continue
        requests += 1
        found, error = new.answer(request)
        if error:
            errors.append(error)
            continue
        rows += request.rows
        before += known
        after += found
    was, now = (_values(spec, judged, texts) for texts in (before, after))
    return Shadow(
        asked=len(asked),
        requests=requests,
        rows=len(rows),
        failed=len(errors),
        error=errors[0] if errors else "",
        unlike=int(np.sum(~np.isclose(now, _by_name(spec, judged, rows), rtol=_EQUAL, atol=_EQUAL))) if rows else 0,
        difference=_apart(spec, was, now) if rows else None,
        champion_ms=_median_ms(old.seconds),
        challenger_ms=_median_ms(new.seconds),
    )


def served(archive: Path, folder: Path) -> Serve:
    """The archive, unpacked into the folder and served by its own code. Raises Refused if that can't begin."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        name = f"served_{folder.name}"
        found = importlib.util.spec_from_file_location(name, folder / "code" / "inference.py")
        if found is None or found.loader is None:
            raise ImportError("code/inference.py is no module")  # noqa: TRY301
        code = sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(code)
        model = code.model_fn(str(folder))
    except Exception as error:
        raise Refused(CODE, f"{folder.name}: the archive can't be served: {type(error).__name__}") from error
    return lambda body, kind, accept: code.transform_fn(model, body, kind, accept)


def failing(shadow: Shadow, options: GateOptions) -> str | None:
    """What is wrong with how the challenger serves, in numbers; None if nothing is."""
    wrong = []
    if shadow.failed:
        wrong.append(
            f"{shadow.failed} of {shadow.requests} requests of the window that the champion answers fail "
            f"({shadow.error})"
        )
    if shadow.unlike > _UNLIKE * shadow.rows:
        wrong.append(
            f"{shadow.unlike} of {shadow.rows} rows are answered otherwise than the model that was judged answers "
            "them: the order of columns, the encoder or the serving code in its archive is another"
        )
    if shadow.requests >= _TIMED and shadow.challenger_ms > options.max_slowdown * shadow.champion_ms:
        wrong.append(
            f"a request takes {shadow.challenger_ms:.2g} ms where the champion takes {shadow.champion_ms:.2g}: more "
            f"than {options.max_slowdown:g} times as long ([gate] max_slowdown)"
        )
    return "; ".join(wrong) or None


def _values(spec: Spec, model: Model, texts: Sequence[str]) -> Numbers:
    """Answers as numbers: values, probabilities, or the place of a class among the model's, -1 for one of no place."""
    if spec.task != "multiclass":
        return parse_numbers(texts)[0]
    place = {name: float(number) for number, name in enumerate(model.encoder.classes)}
    return np.array([place.get(class_name(text), -1.0) for text in texts])


def _by_name(spec: Spec, model: Model, rows: Sequence[Row]) -> Numbers:
    """What the model answers to the rows' values by the names that the specification has for them."""
    columns: dict[str, Column] = {}
    for feature, texts in zip(spec.features, zip(*rows, strict=True), strict=True):
        if feature.type == "categorical":
            columns[feature.name] = category(texts)
        else:
            columns[feature.name] = (parse_flags if feature.type == "boolean" else parse_numbers)(texts)[0]
    output = model.predict(encode(model.encoder, Table(columns)))
    return np.argmax(output, axis=1).astype(float) if output.ndim == 2 else output


def _apart(spec: Spec, was: Numbers, now: Numbers) -> float:
    if spec.task == "multiclass":
        return float(np.mean(was != now))
    return apart(was, was, now, classes=spec.task == "binary")


def _median_ms(seconds: Sequence[float]) -> float:
    return round(1000 * float(np.median(seconds)), 3) if seconds else 0.0
