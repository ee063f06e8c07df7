"""Analyses a window under the contract of Model Monitor's containers: bring-your-own, or an ordinary Processing job.

A schedule's metrics go to the file that SageMaker publishes them from, unless constraints.json turns `emit_metrics`
off; of an ordinary job it publishes none, the analysis has them. drift/container.py has the contract.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from retrain.drift.analysis import analyse
from retrain.drift.container import read_request, write_analysis, write_metrics
from retrain.jobs.entry import run


def main(texts: list[str] | None = None) -> int:
    """0 when the output folder holds the analysis; what was found is in the message."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="where SageMaker's folders are (/opt/ml)")
    options = parser.parse_args(texts)
    options.message = options.root / "output" / "message"
    return run(monitor, options)


def monitor(options: argparse.Namespace) -> str:
    """The documents are written; whether the window violates its constraints, in a sentence that SageMaker reads."""
    request = read_request(options.root)
    analysis = analyse(
        request.captures(), request.statistics, request.constraints, request.window, covered=request.covered
    )
    if request.metrics_of:
        write_metrics(options.root, analysis, request.metrics_of, end=request.asked[1])
    return write_analysis(request.output, analysis)


if __name__ == "__main__":
    sys.exit(main())
