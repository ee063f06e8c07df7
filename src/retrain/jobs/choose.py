"""ChooseChallenger: of candidates that were trained by a job each, the best on the validation slice goes on.

Runs where the candidates are trained in parallel; one job that trains them all chooses by itself, in the same way.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from retrain.core.errors import Refused
from retrain.jobs.entry import arguments, run
from retrain.model.archive import LINEAGE, read_lineage
from retrain.model.spec import CANDIDATES, read_spec
from retrain.training.candidates import Candidate, choose


def main(texts: list[str] | None = None) -> int:
    """0 when the output folder holds the challenger's model.tar.gz; 1 when no candidate can be chosen."""
    return run(choose_challenger, arguments(__doc__, ("spec", *CANDIDATES, "output")).parse_args(texts))


def choose_challenger(options: argparse.Namespace) -> str:
    """The output folder has the chosen candidate's archive, whose lineage names all that were considered."""
    spec = read_spec(options.spec / "model.toml")
    archives: dict[str, Path] = {name: getattr(options, name) / "model.tar.gz" for name in CANDIDATES}
    told: list[dict[str, Any]] = []
    for name, archive in archives.items():
        lineage = read_lineage(archive)
        if "candidates" not in lineage:
            raise Refused("artifact_tampered", f"the archive of {name} has no lineage of candidates")
        told.extend(lineage["candidates"])
    considered = [Candidate(one["name"], one["validation"], one["rounds"], one.get("skipped")) for one in told]
    chosen = choose(spec, considered)
    options.output.mkdir(parents=True, exist_ok=True)
    _copy(archives[chosen.name], options.output / "model.tar.gz", told)
    return f"{chosen.name}: {spec.metric} {chosen.validation} on validation, of {', '.join(c.name for c in considered)}"


def _copy(source: Path, target: Path, told: list[dict[str, Any]]) -> None:
    """The archive again, with the candidates of all jobs in its lineage; the same archives give the same bytes."""
    lineage = {**read_lineage(source), "candidates": told}
    text = json.dumps(lineage, indent=1) + "\n"
    with (
        tarfile.open(source) as old,
        target.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w") as new,
    ):
        for member in old:
            if member.isfile() and (content := old.extractfile(member)):
                name = member.name.removeprefix("./")
                data = text.encode() if name == LINEAGE else content.read()
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                new.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    sys.exit(main())
