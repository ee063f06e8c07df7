"""What chance does to a window: learned from blocks of the baseline's time, as it travels, and what it decides."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from capture_records import line

from retrain.core.errors import NoBaseline
from retrain.drift import chance
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.chance import KINDS, Blocks, as_distance, as_shift, bound, level, student
from retrain.drift.learning import inherit, with_chance
from retrain.drift.verdict import Verdict

FEATURES = {"steady": "numeric", "daily": "numeric", "code": "categorical", "rare": "numeric"}
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, A_DAY = 28, 600


def world(days, seed, shift=0.0):
    """Rows of a world that does not change: a feature without time, one with a daily cycle, the day's code, a gap."""
    random = np.random.default_rng(seed)
    hours = np.sort(random.uniform(0, days * 24, days * A_DAY))
    codes = random.integers(0, 4, days + 1)
    for hour in hours:
        daily = math.sin(hour / 24 * 2 * math.pi) + random.normal()
        code = "abcd"[codes[int(hour // 24)]] if random.random() < 0.5 else "abcd"[random.integers(0, 4)]
        rare = f"{random.normal():.4f}" if random.random() < 0.01 else ""
        yield hour, [f"{random.normal() + shift:.4f}", f"{daily:.4f}", code, rare]


def documents(days=DAYS, seed=1, timed=True):
    rows = list(world(days, seed))
    statistics, constraints = baseline_of([row for _, row in rows], FEATURES)
    if timed:
        times = np.array([(START + timedelta(hours=hour)).timestamp() for hour, _ in rows])
        statistics = with_chance(statistics, [row for _, row in rows], times)
    return statistics, constraints


@pytest.fixture(scope="module")
def learned():
    return documents()


def judged(documents, rows, days):
    start = START + timedelta(days=100)
    lines = [line(",".join(row), time=f"{start + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}") for hour, row in rows]
    window = start, start + timedelta(days=days)
    return analyse([("captures", lines)], *documents, window, alarm_threshold=0.3)


class TestLearning:
    def test_each_feature_has_blocks_of_the_lengths_that_the_baseline_can_speak_of(self, learned):
        blocks = read_statistics(learned[0]).features["steady"].chance
        assert [item.hours for item in blocks] == [1, 6, 24, 48]
        assert [item.count for item in blocks][1:] == [112, 28, 14]
        assert 500 < blocks[0].count < 28 * 24  # hours of fewer than 20 rows are not compared
        assert read_statistics(learned[0]).features["rare"].chance == ()

    def test_what_moves_with_the_day_is_more_usual_than_what_does_not(self, learned):
        features = read_statistics(learned[0]).features
        day = {name: next(item for item in features[name].chance if item.hours == 24) for name in ("steady", "code")}
        assert day["code"].usual["linf"] > 5 * day["steady"].usual["linf"]
        hours = {name: features[name].chance[1].usual["linf"] for name in ("steady", "daily")}
        assert hours["daily"] > 5 * hours["steady"]
        assert all(item.most[kind] >= item.usual[kind] * 0.9 for item in [day["code"]] for kind in KINDS)

    def test_the_rows_order_is_nothing(self):
        rows = list(world(10, 3))
        statistics, _ = baseline_of([row for _, row in rows], FEATURES)
        times = np.array([(START + timedelta(hours=hour)).timestamp() for hour, _ in rows])
        order = np.random.default_rng(2).permutation(len(rows))
        mixed = with_chance(statistics, [rows[place][1] for place in order], times[order])
        assert mixed == with_chance(statistics, [row for _, row in rows], times)

    def test_without_times_the_document_is_as_it_was(self):
        statistics, _ = documents(timed=False)
        rows = [row for _, row in world(DAYS, 1)]
        assert with_chance(statistics, rows, np.full(len(rows), np.nan)) == statistics

    def test_the_predictions_have_theirs(self):
        rows = list(world(10, 3))
        answers = [str(hour % 24) for hour, _ in rows]
        statistics, _ = baseline_of([row for _, row in rows], FEATURES, predictions=answers)
        times = np.array([(START + timedelta(hours=hour)).timestamp() for hour, _ in rows])
        found = read_statistics(with_chance(statistics, [row for _, row in rows], times, answers))
        assert found.prediction.chance[0].usual["linf"] > 2  # an hour's answers are like no other hour's

    def test_a_file_whose_blocks_cannot_be_read_names_feature_and_field(self, learned):
        features = [{**learned[0]["features"][0], "chance": [{"hours": "day"}]}, *learned[0]["features"][1:]]
        with pytest.raises(NoBaseline, match="feature steady: chance: "):
            read_statistics({**learned[0], "features": features})


@pytest.fixture(scope="module")
def promoted(learned):
    """The baseline of a champion that was trained on one day."""
    return renewed(learned, list(world(1, 40)))


class TestInheriting:
    def test_a_day_after_a_promotion_on_one_day_is_judged(self, promoted):
        """A day alone knows nothing of days: the next ones would be undecided, or drift."""
        for seed in range(5, 10):
            found = judged(promoted, world(1, seed), 1)
            assert (found.verdict, found.reason) == (Verdict.STABLE, None)
            assert "code" in found.untellable
        assert judged(promoted, world(1, 5, shift=1.5), 1).worst_feature == "steady"

    def test_a_baseline_of_a_day_is_itself_a_window_of_the_earlier_world(self, learned, promoted):
        """Its level is that of one day, so that the next one is twice as far in square."""
        before, after = (read_statistics(part[0]).features["code"].chance for part in (learned, promoted))
        day = [next(item for item in blocks if item.hours == 24) for blocks in (before, after)]
        assert day[1].over == pytest.approx(24, abs=0.5)
        assert day[1].normally("linf", 1e-5, 24) == pytest.approx(2**0.5 * day[0].normally("linf", 1e-5, 24), rel=1e-6)
        assert not day[1].speaks_of(23)

    def test_what_knows_four_weeks_of_its_own_keeps_them_and_less_does_not(self, learned):
        """A week has eight days of its own, and says of a day that it has not had that it is no chance."""
        for days, own in ((12, False), (29, True)):
            found = renewed(learned, list(world(days, 41)))[0]
            blocks = [block for feature in found["features"] for block in feature["chance"]]
            assert all(("over" not in block) is own for block in blocks)

    def test_a_category_of_the_day_that_a_week_has_not_had_is_not_told(self):
        """Every day has one theme; that of the day after the promotion is none of the week's."""
        features = {"steady": "numeric", "theme": "categorical"}

        def days(themes, seed):
            random = np.random.default_rng(seed)
            hours = np.sort(random.uniform(0, 24 * len(themes), A_DAY * len(themes)))
            return [(hour, [f"{random.normal():.4f}", themes[int(hour // 24)]]) for hour in hours]

        def timed(rows):
            texts = [row for _, row in rows]
            times = np.array([(START + timedelta(hours=hour)).timestamp() for hour, _ in rows])
            statistics, constraints = baseline_of(texts, features)
            return with_chance(statistics, texts, times), constraints, times

        first, _, _ = timed(days([*"abcdef", *np.random.default_rng(3).choice(list("abcdef"), 54)], 1))
        week, constraints, times = timed(days("abcdeabc", 2))
        for statistics in (week, inherit(week, read_statistics(first), times)):
            found = judged((statistics, constraints), days("f", 4), 1)
            assert (found.verdict, found.untellable) == (Verdict.STABLE, ("theme",))
            assert next(item for item in found.features if item.name == "theme").distance == 1.0

    def test_it_inherits_how_often_values_were_missing_or_the_same(self, learned, promoted):
        before = read_statistics(learned[0]).features["code"].rates
        assert read_statistics(promoted[0]).features["code"].rates == before != ()

    def test_it_is_inherited_again(self, promoted):
        again = renewed(promoted, list(world(2, 42)))[0]
        [over] = {block["over"] for feature in again["features"][:3] for block in feature["chance"]}
        assert over == pytest.approx(48, abs=0.5)

    def test_without_times_or_an_earlier_baseline_that_knows_nothing_is_inherited(self, learned):
        rows = [row for _, row in world(1, 40)]
        statistics, _ = baseline_of(rows, FEATURES)
        earlier = read_statistics(learned[0])
        assert inherit(statistics, earlier, np.full(len(rows), np.nan)) == statistics
        times = np.linspace(0, 86_400, len(rows))
        assert inherit(statistics, read_statistics(statistics), times) == statistics


def renewed(documents, rows):
    """Statistics of the rows, which inherit from those of the documents, whose constraints stay."""
    times = np.array([(START + timedelta(hours=hour)).timestamp() for hour, _ in rows])
    texts = [row for _, row in rows]
    own = with_chance(baseline_of(texts, FEATURES)[0], texts, times)
    return inherit(own, read_statistics(documents[0]), times), documents[1]


class TestVerdicts:
    def test_an_unchanged_day_is_stable_though_its_code_is_another_one(self, learned):
        for seed in range(5, 10):
            found = judged(learned, world(1, seed), 1)
            assert (found.verdict, found.reason) == (Verdict.STABLE, None)
            assert (found.hours, found.chance_learned) == (24, True)
            assert "code" in found.untellable

    def test_a_baseline_without_times_says_that_rows_were_taken_for_independent(self):
        found = judged(documents(timed=False), world(1, 5), 1)
        assert not found.chance_learned
        assert not found.document()["chance_learned"]

    def test_who_asks_for_independent_rows_gets_them(self, learned):
        statistics, constraints = json.loads(json.dumps(learned))
        constraints["monitoring_config"]["drift_retrain"]["chance"] = "rows"
        found = [judged((statistics, constraints), world(1, seed), 1) for seed in range(5, 10)]
        assert not any(one.chance_learned for one in found)
        assert "DRIFTED" in {item.verdict for one in found for item in one.features if item.name == "code"}

    def test_a_shift_beyond_threshold_and_chance_is_drift(self, learned):
        found = judged(learned, world(1, 5, shift=1.5), 1)
        assert (found.verdict, found.worst_feature) == (Verdict.DRIFTED, "steady")
        assert found.drift_max > 0.3

    def test_a_night_of_a_daily_cycle_is_no_drift(self, learned):
        night = [(hour, row) for hour, row in world(1, 5) if hour < 6]
        extra = [(hour, row) for seed in range(6, 12) for hour, row in world(1, seed) if hour < 6]
        found = judged(learned, sorted(night + extra), 0.25)
        assert found.verdict is not Verdict.DRIFTED
        assert next(item for item in found.features if item.name == "daily").reason == "not_tellable"

    def test_a_window_shorter_than_every_block_is_undecided(self, learned):
        rows = [(hour / 48, row) for hour, row in world(1, 5)]
        found = judged(learned, rows, 1 / 48)
        assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "window_short")
        assert found.min_detectable_drift == 1.0
        assert found.document()["features"][0]["chance"] is None


class TestBound:
    def test_a_year_of_looks_has_the_false_alarms_that_were_asked_for(self):
        for hours in (1, 24, 168):
            looks = 365 * 24 / hours * 25 * 4
            assert level(0.1, hours, 25, 4) * looks * 3 == pytest.approx(0.1)
        assert level(1e9, 24, 1, 1) == 0.5

    @pytest.mark.parametrize(
        ("degrees", "alpha", "expected"),  # scipy.stats.t.isf(alpha / 2, degrees)
        [
            (1, 0.05, 12.706204736174705),
            (2, 0.01, 9.924843200918293),
            (3, 1e-9, 1301.6371672916928),
            (7, 1e-6, 15.767009437482583),
            (13, 1e-5, 6.954441172349445),
            (59, 1e-6, 5.459302141890169),
            (1000, 1e-9, 6.168430247805824),
            (4, 0.999, 0.0013333338271426063),
        ],
    )
    def test_students_quantile(self, degrees, alpha, expected):
        assert student(degrees, alpha) == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_shift_and_its_distance_are_one_thing(self, kind):
        for distance in (0.01, 0.2, 0.5, 0.9, 0.99):
            assert as_distance(kind, float(as_shift(kind, distance))) == pytest.approx(distance, rel=3e-3)

    def test_longer_windows_inherit_the_bound_of_shorter_ones(self):
        blocks = (_blocks(24, 60, 0.2), _blocks(168, 8, 0.1))
        found = [bound("linf", blocks, hours, (10**6, 10**6, 10), 1e-5).total for hours in (24, 168, 672)]
        assert found == sorted(found, reverse=True)
        assert bound("linf", blocks, 23, (10**6, 10**6, 10), 1e-5).total == math.inf

    def test_few_blocks_do_not_speak(self):
        assert bound("linf", (_blocks(24, 7, 0.0),), 24, (1000, 1000, 10), 1e-5).total == math.inf

    def test_rows_that_are_fewer_than_the_baselines_blocks_add_their_own_part(self):
        blocks = (_blocks(24, 60, 0.1),)
        many, few = (bound("linf", blocks, 24, (n, 10**6, 10), 1e-5) for n in (10**6, 100))
        assert few.total > many.total
        assert (few.few, many.few) == (True, False)

    @pytest.mark.parametrize("kind", KINDS)
    def test_without_blocks_rows_are_independent(self, kind):
        found = bound(kind, None, 24, (1000, 10_000, 10), 1e-5)
        assert (found.learned, found.few) == (False, True)
        assert 0 < found.hides < found.total < 1

    def test_neighbours_that_are_alike_say_less(self):
        alone, alike = (Blocks(24, 60, near, dict.fromkeys(KINDS, 0.2), dict.fromkeys(KINDS, 0.0)) for near in (0, 0.9))
        assert alike.worth < alone.worth == 60
        assert alike.normally("linf", 1e-5, 24) > alone.normally("linf", 1e-5, 24)
        assert alone.normally("linf", 1e-5, 96) == pytest.approx(alone.normally("linf", 1e-5, 24) / 2)
        assert alike.normally("linf", 1e-5, 96) == alike.normally("linf", 1e-5, 24)

    def test_heavy_tails_are_heeded(self):
        tame, wild = (Blocks(24, 60, 0.0, dict.fromkeys(KINDS, 0.1), dict.fromkeys(KINDS, m)) for m in (0.2, 0.9))
        assert tame.beyond("linf", 1e-5, 24) == tame.normally("linf", 1e-5, 24)
        assert wild.beyond("linf", 1e-5, 24) > 1.8


def _blocks(hours, count, usual):
    return Blocks(hours, count, 0.0, dict.fromkeys(KINDS, usual), dict.fromkeys(KINDS, usual))


def test_blocks_that_are_none_are_refused():
    for broken in (3, [3], [{"hours": 1}], [{**chance.render_blocks([_blocks(1, 9, 0.1)])[0], "near": -1}]):
        with pytest.raises(ValueError, match=r"blocks|number"):
            chance.read_blocks(broken)
