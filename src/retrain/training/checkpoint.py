"""Checkpoints of a training, so that one that was cut short goes on where it was and ends with the same model.

A checkpoint is the booster in XGBoost's own format; what early stopping has seen so far is an attribute of it, so that
both are in one file and are replaced at once. It belongs to one candidate and to one fingerprint of the inputs: after a
change of data or code a training begins anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xgboost as xgb
from xgboost import collective

_HISTORY = "history"


@dataclass(frozen=True)
class Checkpoint:
    """A booster as it was saved, and its metric on the validation slice after each round that was added."""

    booster: bytes
    history: tuple[float, ...]


@dataclass(frozen=True)
class Checkpoints:
    """The newest checkpoint of every candidate, below a folder; without a folder nothing is kept."""

    folder: Path | None = None
    fingerprint: str = ""

    def keep(self, candidate: str, checkpoint: Checkpoint) -> None:
        """The checkpoint is the candidate's newest; where several machines train together, the first one writes it."""
        if self.folder is None or collective.get_rank():
            return
        booster = xgb.Booster(model_file=bytearray(checkpoint.booster))
        booster.set_attr(**{_HISTORY: json.dumps(checkpoint.history)})
        file = self._file(self.folder, candidate)
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".part")
        half.write_bytes(booster.save_raw("ubj"))
        half.replace(file)

    def newest(self, candidate: str) -> Checkpoint | None:
        """The candidate's newest checkpoint, None if there is none that can be read; the same on every machine."""
        found: tuple[Checkpoint | None] = collective.broadcast((self._read(candidate),), 0)
        return found[0]

    def _read(self, candidate: str) -> Checkpoint | None:
        if self.folder is None or not (file := self._file(self.folder, candidate)).exists():
            return None
        try:
            booster = xgb.Booster(model_file=bytearray(file.read_bytes()))
            history: Sequence[float] = json.loads(booster.attr(_HISTORY) or "")
        except (xgb.core.XGBoostError, ValueError) as error:
            print(f"{file.name} is no checkpoint, {candidate} begins anew: {error}")
            return None
        booster.set_attr(**{_HISTORY: None})
        return Checkpoint(bytes(booster.save_raw("ubj")), tuple(history))

    def _file(self, folder: Path, candidate: str) -> Path:
        return folder / self.fingerprint / f"{candidate}.ubj"
