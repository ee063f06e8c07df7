"""Other libraries on the same captures. Each runs in an environment of its own: benchmarks/peers/NAME.txt.

Each gets the fastest parse that we could give it: orjson for the lines, polars for the CSV in them, then pandas. They
compute different things; `PEERS` in drift.py says what.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.workload import CACHE, FEATURES, WINDOW, Line, files


def compare(name: str, folder: Path) -> Line:
    """A peer's comparison of all captures with the baseline's rows."""
    import orjson
    import polars

    kinds = {key: polars.Float64 if kind == "numeric" else polars.String for key, kind in FEATURES.items()}

    def parsed(file: Path) -> polars.DataFrame:
        with file.open("rb") as opened:
            texts = [orjson.loads(line)["captureData"]["endpointInput"]["data"] for line in opened]
        return polars.read_csv("".join(texts).encode(), has_header=False, new_columns=list(kinds), schema=kinds)

    current = polars.concat([parsed(file) for file in files(folder)], rechunk=True).to_pandas()
    reference = polars.read_csv(CACHE / "baseline" / "baseline.csv", schema=kinds).to_pandas()
    if name == "parse":
        return {"rows": len(current)}
    numeric = [key for key, kind in FEATURES.items() if kind == "numeric"]
    categorical = [key for key, kind in FEATURES.items() if kind == "categorical"]
    found: dict[str, str | float] = globals()[f"peer_{name.replace('-', '_')}"](
        reference, current, numeric, categorical
    )
    return found


def peer_alibi_detect(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    from alibi_detect.cd import ChiSquareDrift, KSDrift

    drifted = 0
    for key in numeric:  # a column at a time: a missing value costs a value, not the row
        before, now = (table[key].dropna().to_numpy()[:, None] for table in (reference, current))
        drifted += KSDrift(before, p_val=0.05).predict(now)["data"]["is_drift"]
    for key in categorical:
        codes = {level: code for code, level in enumerate(sorted(reference[key].dropna().unique()))}
        before, now = (table[key].map(codes).dropna().to_numpy()[:, None] for table in (reference, current))
        drifted += ChiSquareDrift(before, p_val=0.05).predict(now)["data"]["is_drift"]
    return {"drifted": drifted}


def peer_frouros(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    from frouros.detectors.data_drift import EMD, JS, PSI, ChiSquareTest, KSTest

    count = 0
    for key in numeric:
        before, now = (table[key].dropna().to_numpy() for table in (reference, current))
        for method in (KSTest, PSI, EMD, JS):
            detector = method()
            detector.fit(X=before)
            detector.compare(X=now)
            count += 1
    for key in categorical:
        detector = ChiSquareTest()
        detector.fit(X=reference[key].to_numpy(dtype=object))
        detector.compare(X=current[key].to_numpy(dtype=object))
        count += 1
    return {"comparisons": count}


def peer_nannyml(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    import nannyml

    calculator = nannyml.UnivariateDriftCalculator(
        column_names=[*numeric, *categorical],
        treat_as_categorical=categorical,
        continuous_methods=["kolmogorov_smirnov", "jensen_shannon", "wasserstein"],
        categorical_methods=["chi2", "jensen_shannon"],
        chunk_number=1,
    )
    calculator.fit(reference)
    return {"columns": len(calculator.calculate(current).to_df().columns)}


def peer_whylogs(reference, current, *_) -> Line:  # type: ignore[no-untyped-def]
    import whylogs
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    views = [whylogs.log(table).view() for table in (current, reference)]
    return {"scores": len(calculate_drift_scores(*views, with_thresholds=True))}


def peer_evidently(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    tables = [Dataset.from_pandas(table, data_definition=definition) for table in (current, reference)]
    snapshot = Report([DataDriftPreset()]).run(*tables)
    snapshot.save_html(str(CACHE / "out" / "evidently.html"))
    return {"metrics": len(snapshot.dict()["metrics"])}


def spark(folder: Path) -> Line:
    """Spark's own aggregations on one core: counts, moments, percentiles, and how often each category is there."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    lines = session.read.text([str(file) for file in files(folder)])
    data = f.get_json_object("value", "$.captureData.endpointInput.data")
    parts = lines.select(f.split(f.rtrim(data), ",").alias("v"))
    columns: list[Any] = []
    for place, (name, kind) in enumerate(FEATURES.items()):
        text = f.col("v")[place]
        columns.append((f.expr(f"try_cast(v[{place}] as double)") if kind == "numeric" else text).alias(name))
    table = parts.select(*columns)
    numeric = [name for name, kind in FEATURES.items() if kind == "numeric"]
    points = [index / 100 for index in range(101)]
    found = table.agg(
        f.count(f.lit(1)).alias("rows"),
        *[
            measure(name).alias(f"{measure.__name__}_{name}")
            for name in numeric
            for measure in (f.count, f.mean, f.stddev_pop, f.min, f.max)
        ],
        *[f.percentile_approx(name, points, 10_000).alias(f"at_{name}") for name in numeric],
    ).collect()[0]
    texts = [f.struct(f.lit(name).alias("k"), f.col(name).alias("v")) for name in FEATURES if name not in numeric]
    counts = table.select(f.explode(f.array(*texts)).alias("t")).groupBy("t.k", "t.v").count().collect()
    session.stop()
    return {"rows": found["rows"], "categories": len(counts)}


def ours_on_spark(folder: Path) -> Line:
    """Our reading of the same captures in Spark's partitions, merged by Spark."""
    from pyspark.sql import SparkSession

    from retrain.jobs.spark import intake_of

    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    statistics = (CACHE / "baseline" / "statistics.json").read_bytes()
    found = intake_of(session, folder.as_uri(), statistics, WINDOW)
    session.stop()
    return {"rows": found.profile.rows, **found.paths}


def simdjson(folder: Path) -> Line:
    """Every line parsed by simdjson, and nothing taken from it."""
    from simdjson import Parser

    parser, count = Parser(), 0
    for file in files(folder):
        for line in file.read_bytes().splitlines():
            count += parser.parse(line).at_pointer("/eventVersion") == "0"
    return {"lines": count}
