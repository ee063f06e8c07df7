"""ChooseChallenger: of candidates that were trained by a job each, the best on the validation slice goes on.

Runs where the candidates are trained in parallel; one job that trains them all chooses by itself, in the same way.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from retrain.jobs.entry import arguments, run
from retrain.model.archive import copy_archive, read_lineage
from retrain.model.read_spec import read_spec
from retrain.model.spec import CANDIDATES
from retrain.training.candidates import choose
from retrain.training.lineage import candidates_of, tell


def main(texts: list[str] | None = None) -> int:
    """0 when the output folder holds the challenger's model.tar.gz; 1 when no candidate can be chosen."""
    return run(choose_challenger, arguments(__doc__, ("spec", *CANDIDATES, "output")).parse_args(texts))


def choose_challenger(options: argparse.Namespace) -> str:
    """The output folder has the chosen candidate's archive, whose lineage names all that were considered."""
    spec = read_spec(options.spec / "model.toml")
    archives: dict[str, Path] = {name: getattr(options, name) / "model.tar.gz" for name in CANDIDATES}
    lineages = {name: read_lineage(archive) for name, archive in archives.items()}
    considered = [candidate for lineage in lineages.values() for candidate in candidates_of(lineage)]
    chosen = choose(spec, considered)
    options.output.mkdir(parents=True, exist_ok=True)
    lineage = {**lineages[chosen.name], "candidates": tell(considered)}
    copy_archive(archives[chosen.name], options.output / "model.tar.gz", lineage)
    return f"{chosen.name}: {spec.metric} {chosen.validation} on validation, of {', '.join(c.name for c in considered)}"


if __name__ == "__main__":
    sys.exit(main())
