"""Analyses a window that is too large for one machine, on Spark: every partition makes an intake, and intakes merge.

    spark-submit --py-files retrain.zip src/retrain/jobs/spark.py --captures s3a://bucket/capture/flights/AllTraffic \
        --baseline baseline --start 2026-11-22T00:00:00Z --end 2026-11-23T00:00:00Z --output drift

`retrain.zip` holds the package. What travels between machines are stored intakes, some hundred kilobytes for each
partition, whatever the window holds. A file is read whole by one task, so it has to fit into its memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from retrain.capture.gz import lines
from retrain.core import clock
from retrain.core.errors import Refused
from retrain.core.window import Window
from retrain.drift.analysis import analyse_intake
from retrain.drift.baseline import read_statistics
from retrain.drift.constraints import read_constraints
from retrain.drift.container import write_analysis
from retrain.drift.intake import Intake
from retrain.drift.intake_cache import Stored, dump_intake
from retrain.drift.parallel import merge_shares, read_share
from retrain.jobs.entry import arguments, run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_DEPTH = 2  # of the tree that merges


def main(texts: list[str] | None = None) -> int:
    """0 when the output folder holds the analysis."""
    parser = arguments(__doc__, ("baseline", "output"), ("captures", "start", "end"))
    parser.add_argument("--partitions", type=int, help="how many tasks read (Spark's default parallelism)")
    return run(analyse_on_spark, parser.parse_args(texts))


def analyse_on_spark(options: argparse.Namespace) -> str:
    """The documents are written; what was found, in a sentence."""
    from pyspark.sql import SparkSession

    window = clock.parse(options.start), clock.parse(options.end)
    statistics = (options.baseline / "statistics.json").read_bytes()
    constraints = read_constraints((options.baseline / "constraints.json").read_bytes())
    spark = SparkSession.builder.appName("retrain").getOrCreate()
    intake = intake_of(spark, options.captures, statistics, window, options.partitions)
    return write_analysis(options.output, analyse_intake(intake, read_statistics(statistics), constraints, window))


def intake_of(
    spark: SparkSession, captures: str, statistics: bytes, window: Window, partitions: int | None = None
) -> Intake:
    """The intake of the window [start, end) of all files below that path, in folders of any depth.

    Raises Refused("capture_missing", …) if there is none.
    """
    context = spark.sparkContext
    context.setJobDescription("read captures")
    context._jsc.hadoopConfiguration().set("mapreduce.input.fileinputformat.input.dir.recursive", "true")
    files = context.binaryFiles(captures, partitions or context.defaultParallelism)
    parts = files.mapPartitions(partial(_part, statistics=statistics, window=window))
    if parts.isEmpty():
        raise Refused("capture_missing", f"{captures}: there is no file")
    merged = parts.treeReduce(partial(_merge, statistics=statistics), _DEPTH)
    return merge_shares([merged], statistics)


def _part(files: Iterable[tuple[str, bytes]], statistics: bytes, window: Window) -> Iterator[bytes]:
    yield read_share(((name, lines([content])) for name, content in files), statistics, window)


def _merge(one: bytes, other: bytes, statistics: bytes) -> bytes:
    return dump_intake(Stored(merge_shares((one, other), statistics), {}))


if __name__ == "__main__":
    sys.exit(main())
