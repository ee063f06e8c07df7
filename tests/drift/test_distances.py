"""Distances: Deequ's reference vectors to the last digit, and scipy on raw data."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import special, stats
from scipy.spatial.distance import jensenshannon

from retrain.drift import distances, verdict
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.chance import Bound
from retrain.drift.profile import merge_columns, numbers_of, sketch_of
from retrain.model.values import in_precision

A = {"a": 11, "b": 20, "c": 25, "d": 10, "e": 10}, {"a": 10, "b": 20, "c": 25, "d": 10, "e": 5}
B = {"a": 207, "b": 20, "c": 25, "d": 14, "e": 25, "g": 13}, {"a": 22, "b": 20, "c": 25, "d": 12, "e": 13, "f": 15}


def ks(baseline, window):
    steps = distances.steps_of(sketch_of(np.sort(np.asarray(baseline, float))))
    column = numbers_of(np.asarray(window, float), steps.points)
    return distances.numeric_distance(steps, column.at, column.present)


class TestDeequ:
    def test_numeric_simple(self):
        assert ks([1, 2, 3, 4], [2, 3, 4, 5]) == 0.25

    def test_numeric_robust(self):
        assert distances.robust(ks([1, 2, 3, 4], [2, 3, 4, 5]), 4, 4) == 0.0

    @pytest.mark.parametrize(
        ("baseline", "window", "simple"),
        [
            (*A, 0.06015037593984962),
            (*B, 0.47531357599606494),
            ({"f": 11, "a": 20, "c": 25, "d": 10, "e": 10}, A[1], 0.2857142857142857),
        ],
    )
    def test_categorical_simple_in_both_directions(self, baseline, window, simple):
        assert distances.categorical_distance(baseline, window) == simple
        assert distances.categorical_distance(window, baseline) == simple

    @pytest.mark.parametrize(
        ("pair", "alpha", "expected"),
        [
            (A, None, 0.0),
            (B, 0.003, 0.2726338046550349),
            (B, 0.1, 0.33774199396969184),
            (B, None, 0.27298150100888496),
        ],
    )
    def test_categorical_robust(self, pair, alpha, expected):
        distance = distances.categorical_distance(*pair)
        n, m = (sum(counts.values()) for counts in pair)
        assert distances.robust(distance, n, m, alpha) == expected

    @pytest.mark.parametrize(
        ("n", "m", "correction"),
        [
            (100, 100, 0.2546),
            (100, 10_000, 0.1809),
            (500, 10_000, 0.0825),
            (1000, 1000, 0.0805),
            (5000, 50_000, 0.0267),
        ],
    )
    def test_correction_for_small_samples(self, n, m, correction):
        assert distances.min_detectable_drift(n, m) == pytest.approx(correction, abs=5e-5)


SAMPLES = {
    "normal": (lambda r, n: r.normal(size=n), lambda r, n: r.normal(0.3, 1.2, size=n)),
    "ties": (lambda r, n: r.integers(0, 9, n).astype(float), lambda r, n: r.integers(2, 12, n).astype(float)),
    "heavy tails": (lambda r, n: r.standard_t(3, n), lambda r, n: 2 * r.standard_t(3, n)),
    "apart": (lambda r, n: r.uniform(0, 1, n), lambda r, n: r.uniform(5, 6, n)),
    "one value": (lambda r, n: np.full(n, 7.0), lambda r, n: r.normal(7, 1, n)),
}


@pytest.fixture(params=SAMPLES)
def samples(request):
    first, second = SAMPLES[request.param]
    random = np.random.default_rng(7)
    return in_precision(first(random, 1500)), in_precision(second(random, 1100))


class TestAgainstScipy:
    def test_ks_is_exact_while_the_baseline_is(self, samples):
        baseline, window = samples
        assert ks(baseline, window) == pytest.approx(stats.ks_2samp(baseline, window).statistic, abs=1e-12)

    def test_ks_of_a_sketched_baseline_is_within_its_error(self):
        random = np.random.default_rng(3)
        for shift in (0.0, 0.1, 1.0):
            baseline, window = random.normal(size=100_000), random.normal(shift, 1, size=20_000)
            sketched = merge_columns(*(numbers_of(half) for half in np.array_split(baseline, 2)))
            steps = distances.steps_of(sketched.sketch)
            column = numbers_of(window, steps.points)
            distance = distances.numeric_distance(steps, column.at, column.present)
            assert distance == pytest.approx(stats.ks_2samp(baseline, window).statistic, abs=0.002)

    def test_ks_p_value(self):
        for distance in (0.01, 0.03, 0.05, 0.08, 0.2):
            expected = special.kolmogorov(distance * math.sqrt(1000 * 3000 / 4000))
            assert distances.ks_p_value(distance, 1000, 3000) == pytest.approx(expected, rel=1e-9, abs=1e-12)

    def test_wasserstein_within_the_crossing_intervals_error(self, samples):
        baseline, window = samples
        steps = distances.steps_of(sketch_of(np.sort(baseline)))
        column = numbers_of(window, steps.points)
        distance = distances.wasserstein(steps, column.at, column.present, column.sketch)
        low, high = np.percentile(np.concatenate(samples), [5, 95])
        tolerance = max(1e-9, 0.002 * (high - low))
        assert distance == pytest.approx(stats.wasserstein_distance(baseline, window), abs=tolerance, rel=2e-3)

    def test_wasserstein_of_a_shift_beyond_the_baseline_is_exact(self):
        values = np.linspace(0, 1, 50)
        steps = distances.steps_of(sketch_of(values))
        column = numbers_of(values + 10, steps.points)
        found = distances.wasserstein(steps, column.at, column.present, column.sketch)
        assert found == pytest.approx(10, rel=1e-6)

    def test_bins_hold_what_numpy_counts(self, samples):
        baseline, window = samples
        steps = distances.steps_of(sketch_of(np.sort(baseline)))
        column = numbers_of(window, steps.points)
        expected, actual = distances.bin_counts(steps, column.at, column.present)
        assert expected.sum() == len(baseline)
        assert actual.sum() == len(window)
        if len(steps.points) > 1:
            deciles = np.unique(np.percentile(baseline, np.arange(10, 100, 10), method="inverted_cdf"))
            edges = [-np.inf, *deciles[deciles < baseline.max()], np.inf]
            counted = [np.count_nonzero((window > low) & (window <= high)) for low, high in pairwise(edges)]
            assert actual.tolist() == counted

    def test_jensen_shannon(self):
        p, q = np.array([10.0, 0, 5, 85]), np.array([20.0, 30, 0, 50])
        assert distances.jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-12)

    @pytest.mark.parametrize("a", [0.5, 1, 2.5, 10, 99.5])
    def test_upper_gamma(self, a):
        for x in (1e-8, 0.3, a / 2, a, a + 1.0001, 3 * a + 5, 20 * a):
            assert distances.upper_gamma(a, x) == pytest.approx(special.gammaincc(a, x), rel=1e-11, abs=1e-14)

    def test_chi_square_without_small_counts(self):
        baseline, window = {"a": 500, "b": 300, "c": 200}, {"a": 90, "b": 70, "c": 40, "new": 13}
        expected = stats.chisquare([90, 70, 40], [100, 60, 40]).pvalue
        assert distances.chi_square_p_value(baseline, window) == pytest.approx(expected, rel=1e-12)


def bucketed(values):
    """The distribution as a statistics.json has it that was written without a sketch."""
    statistics, _ = baseline_of([[repr(value)] for value in values], {"x": "numeric"})
    del statistics["features"][0]["numerical_statistics"]["distribution"]["kll"]["sketch"]
    return read_statistics(statistics).features["x"].steps


class TestBuckets:
    """GIVEN ten buckets and no sketch: a bucket holds its lower bound, the last one its upper bound too."""

    @pytest.mark.parametrize(
        "values",
        [
            [5] * 60 + list(range(11)) * 4,
            list(range(1, 12)),
            [10.0 * value for value in range(11)],
            [0.1 * value for value in range(12)],
            [7.0],
        ],
    )
    def test_the_same_values_are_at_no_distance(self, values):
        steps = bucketed(values)
        window = numbers_of(np.array(values * 3, dtype=float), steps.points)
        assert distances.numeric_distance(steps, window.at, window.present) == pytest.approx(0, abs=1e-12)
        expected, actual = distances.bin_counts(steps, window.at, window.present)
        assert actual.tolist() == (3 * expected).tolist()

    def test_at_the_bounds_the_distance_is_that_of_all_values(self):
        random = np.random.default_rng(5)
        before, now = random.integers(0, 11, 900).tolist(), random.integers(0, 9, 700).astype(float)
        steps = bucketed(before)
        window = numbers_of(now, steps.points)
        expected = stats.ks_2samp(before, now).statistic
        assert distances.numeric_distance(steps, window.at, window.present) == pytest.approx(expected, abs=1e-12)

    def test_one_value_is_told_from_what_lies_below_it(self):
        steps = bucketed([7.0] * 5)
        window = numbers_of(np.array([6.0, 7.0]), steps.points)
        assert distances.numeric_distance(steps, window.at, window.present) == 0.5
        assert [part.tolist() for part in distances.bin_counts(steps, window.at, window.present)] == [
            [0, 5, 0],
            [1, 1, 0],
        ]


class TestChiSquareRules:
    def test_small_categories_are_joined_to_the_next_larger_one(self):
        # Expected of 100: a 60, b 31, c 4, d 3, e 2. Two fifths are too many: e joins d (5), then one of four is.
        # c joins the 5 of d: two categories of three are not below 5 any more, and one fifth of three is none.
        baseline = {"a": 600, "b": 310, "c": 40, "d": 30, "e": 20}
        window = {"a": 50, "b": 35, "c": 6, "d": 5, "e": 4}
        expected = stats.chisquare([50, 35, 15], [60, 31, 9]).pvalue
        assert distances.chi_square_p_value(baseline, window) == pytest.approx(expected, rel=1e-12)

    def test_of_two_categories_none_may_be_below_ten(self):
        assert math.isnan(distances.chi_square_p_value({"a": 95, "b": 5}, {"a": 90, "b": 10}))

    def test_one_category_or_no_data_is_no_test(self):
        assert math.isnan(distances.chi_square_p_value({"a": 95}, {"a": 90}))
        assert math.isnan(distances.chi_square_p_value({"a": 95, "b": 90}, {}))
        assert math.isnan(distances.chi_square_p_value({"a": 95, "b": 90}, {"c": 3}))

    def test_of_two_samples_the_p_value_is_that_of_their_contingency_table(self):
        before, now = {"a": 500, "b": 300, "c": 200}, {"a": 450, "b": 320, "c": 230}
        expected = stats.chi2_contingency([list(before.values()), list(now.values())]).pvalue
        assert distances.chi_square_p_value(before, now, sampled=True) == pytest.approx(expected, rel=0.05)

    def test_a_window_as_large_as_the_baseline_is_seldom_another_one_by_chance(self):
        random = np.random.default_rng(9)

        def counts():
            return dict(zip("abcd", random.multinomial(2000, [0.4, 0.3, 0.2, 0.1]).tolist(), strict=True))

        found = [distances.chi_square_p_value(counts(), counts(), sampled=True) for _ in range(1000)]
        assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.02)
        assert np.mean(np.array(found) < 0.003) < 0.01


class TestChance:
    """GIVEN two samples of the same distribution."""

    @pytest.mark.parametrize("bins", [2, 10, 50, 500])
    @pytest.mark.parametrize(("n", "m"), [(600, 4000), (2000, 2000), (500, 100_000)])
    def test_psi_and_jensen_shannon_seldom_exceed_what_chance_may_produce(self, bins, n, m):
        random = np.random.default_rng(bins)
        shares = np.full(bins, 1 / bins)
        pairs = [(random.multinomial(m, shares) * 1.0, random.multinomial(n, shares) * 1.0) for _ in range(500)]
        for measure, chance in (
            (distances.psi, distances.psi_by_chance(n, m, bins)),
            (distances.jensen_shannon, distances.jensen_shannon_by_chance(n, m, bins)),
        ):
            found = np.array([measure(*pair) for pair in pairs])
            assert np.mean(found > chance) <= 0.01
            assert bins > 10 or np.quantile(found, 0.99) > chance / 2  # and it is not said to hide much more

    def test_of_nothing_is_all(self):
        assert distances.psi_by_chance(0, 10, 5) == distances.jensen_shannon_by_chance(10, 0, 5) == 1.0


class TestToldApart:
    @pytest.mark.parametrize(("levels", "power"), [(6000, 0.0), (6000, 1.0), (2200, 0.0)])
    @pytest.mark.parametrize(("n", "m"), [(10_000, 20_000), (5000, 100_000)])
    def test_of_the_same_distribution_nothing_moves_however_few_are_named(self, levels, power, n, m):
        random = np.random.default_rng(3)
        shares = 1 / np.arange(1, levels + 1) ** power
        before, now = (random.multinomial(count, shares / shares.sum()) for count in (m, n))
        named = {str(at): int(before[at]) for at in np.argsort(-before, kind="stable")[:2000] if before[at]}
        window = {str(at): count for at, count in enumerate(now.tolist()) if count}
        one, other = distances.told_apart(named, m - sum(named.values()), window, n)
        assert one.keys() == other.keys()
        assert (sum(one.values()), sum(other.values())) == (m, n)
        assert distances.categorical_distance(one, other) < 0.06
        bins = [np.array(list(counts.values()), dtype=float) for counts in (one, other)]
        assert distances.psi(*bins) < 0.15
        assert distances.jensen_shannon(*bins) < 0.2

    @pytest.mark.parametrize("name", ["k1", "k1999", "k2500", "new"])
    def test_what_grew_is_told_apart_whether_it_was_named_or_not(self, name):
        named = {f"k{number}": 4 for number in range(2000)}
        before, now = distances.told_apart(named, 12_000, {name: 900, **{f"k{n}": 1 for n in range(3000, 3100)}}, 1000)
        assert distances.categorical_distance(before, now) == pytest.approx(0.9, abs=0.001)

    def test_the_others_are_never_fewer_than_none(self):
        before, now = distances.told_apart({"a": 50, "b": 40}, 3, {f"new {n}": 30 for n in range(9)}, 270)
        assert min(before.values()) == 0
        assert (sum(before.values()), sum(now.values())) == (93, 270)


class TestPsi:
    def test_follows_its_formula_where_no_bin_is_empty(self):
        e, a = np.array([300.0, 500, 200]) * 1000, np.array([100.0, 600, 300]) * 1000
        p, q = e / e.sum(), a / a.sum()
        assert distances.psi(e, a) == pytest.approx(float(np.sum((q - p) * np.log(q / p))), rel=1e-3)

    def test_an_empty_bin_is_large_and_finite(self):
        assert 1 < distances.psi(np.array([100.0, 0]), np.array([0.0, 100])) < 20


class TestNothingToCompare:
    def test_is_nan_and_never_no_drift(self):
        assert math.isnan(ks([1, 2, 3], []))
        assert math.isnan(distances.categorical_distance({"a": 1}, {}))
        assert math.isnan(distances.psi(np.array([1.0]), np.array([0.0])))
        assert distances.min_detectable_drift(0, 100) == 1.0
        assert verdict.on_distance(math.nan, 0.3, Bound(1.0, 1.0, few=True, learned=False)) == (
            verdict.Verdict.UNDECIDED,
            "too_few_rows",
        )


@pytest.mark.parametrize(
    ("distance", "threshold", "chance", "beyond", "expected"),
    [
        (0.31, 0.3, 0.1, False, "DRIFTED"),
        (0.30, 0.3, 0.1, False, "STABLE"),
        (0.10, 0.3, 0.3, False, "STABLE"),
        (0.10, 0.3, 0.301, False, "UNDECIDED"),
        (0.31, 0.3, 0.4, False, "UNDECIDED"),
        (0.41, 0.3, 0.1, True, "DRIFTED"),
        (0.40, 0.3, 0.1, True, "UNDECIDED"),
        (0.31, 0.3, 0.1, True, "UNDECIDED"),
        (0.30, 0.3, 0.1, True, "STABLE"),
        (0.10, 0.3, 0.301, True, "UNDECIDED"),
        (0.95, 0.3, 0.9, False, "DRIFTED"),
    ],
)
def test_verdict_on_a_feature(distance, threshold, chance, beyond, expected):
    found, reason = verdict.on_distance(distance, threshold, Bound(chance, chance, few=True, learned=False), beyond)
    assert found == expected
    assert (reason == "too_few_rows") == (expected == "UNDECIDED")
