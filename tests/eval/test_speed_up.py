"""Step speed-ups: the definition, symmetry, planted values, the null and the interval.

Ratios of step times and time speed-ups: plain definition, symmetry, the null and coverage.

Step times of a small report, in every format.
"""

import dataclasses
import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small_reports import make

from eval.report.data import to_json
from eval.report.html import to_html
from eval.report.markdown import to_markdown
from eval.speed_up import (
    Curves,
    LogRatio,
    Rounds,
    StepSpeedup,
    error_of_mean,
    interval_in_words,
    log_speedups,
    sentence,
    step_time_ratio,
    step_times,
    summarise,
    time_speedup,
)
from eval.statistics import StandardError
from eval.verdict import THREEFOLD_WITHIN_A_DECAY

STEPS = np.array([50, 100, 200, 400])
LENGTHS = np.array([3_968, 7_936, 15_872])


DENSE = [5.0, 4.0, 3.5, 3.0]


def speedup(candidate, baseline=DENSE):
    logs, bounds = log_speedups(STEPS, np.array(baseline), STEPS, np.array(candidate))
    return float(np.exp(logs)), bool(bounds)


@pytest.mark.parametrize(
    ("candidate", "baseline", "found", "is_bound"),
    [
        ([5.0, 4.0, 2.0, 2.0], DENSE, 400 / (100 * 2**0.5), False),  # between steps 100 and 200
        (DENSE, DENSE, 1.0, False),
        ([3.0] * 4, [3.0] * 4, 1.0, False),
        ([6.0, 5.0, 4.0, 3.5], DENSE, 200 / 400, False),  # slower
        ([2.8, 2.4, 2.2, 2.0], DENSE, 8 * 2**0.5, False),  # before the first point
        ([2.0] * 4, DENSE, 16.0, True),
        ([9.0] * 4, DENSE, 1 / 16, True),
    ],
)
def test_the_ratio_is_interpolated_extrapolated_or_bounded(candidate, baseline, found, is_bound):
    assert speedup(candidate, baseline) == (pytest.approx(found, rel=1e-15), is_bound)


def test_a_dip_counts_for_as_long_as_it_lasts():
    once = speedup([5.0, 4.0, 3.4, 2.0])[0]
    assert once < speedup([5.0, 2.9, 3.4, 2.0])[0] < speedup([5.0, 2.9, 2.9, 2.0])[0]


losses = st.lists(st.floats(0.5, 9.0), min_size=4, max_size=4)


def slow_log_steps(curve, target):
    """Returns the log of the steps to the target, from a fine grid of the linear curve."""
    grid = np.linspace(np.log(STEPS[0]), np.log(STEPS[-1]), 200_001)
    above = np.interp(grid, np.log(STEPS), curve) > target
    before = np.linspace(np.log(STEPS[0]) - np.log(2), np.log(STEPS[0]), 200_001)
    line = curve[0] + (curve[1] - curve[0]) * (before - before[-1]) / np.log(2)
    line = np.minimum(line, curve[0]) if curve[1] >= curve[0] else line
    back = (line <= target).mean() if curve[0] < target else 0
    return grid[0] + above.mean() * (grid[-1] - grid[0]) - back * np.log(2)


@given(losses, losses)
def test_agrees_with_the_plain_definition_and_is_symmetric(baseline, candidate):
    found = np.log(speedup(candidate, baseline)[0])
    assert speedup(baseline, candidate)[0] == pytest.approx(np.exp(-found))
    if candidate[-1] == baseline[-1]:
        return
    if candidate[-1] < baseline[-1]:
        expected = np.log(STEPS[-1]) - slow_log_steps(candidate, baseline[-1])
    else:
        expected = slow_log_steps(baseline, candidate[-1]) - np.log(STEPS[-1])
    assert found == pytest.approx(expected, abs=1e-3)


def drawn(rng, faster, runs=2, languages=101, pages=12, spread=0.02, lengths=LENGTHS):
    """Returns two sides whose losses are a power law of steps, the second one `faster` times."""
    language = np.repeat(np.arange(languages), pages)
    sizes = rng.integers(20, 300, language.size)
    scale, power, least = (rng.uniform(*ends, languages) for ends in ((4, 12), (0.15, 0.4), (1, 2)))
    level, sides = rng.normal(0, 0.5, language.size), []
    for factor in (1, faster):
        curve = least + scale * (lengths[:, None] * factor) ** -power
        loss = curve[:, language] + level + rng.normal(0, 0.07, language.size)
        loss = loss + rng.normal(0, 0.05, (runs, lengths.size, language.size))
        loss += rng.normal(0, spread, (runs, 1, 1)) + rng.normal(
            0, spread / 2, (runs, lengths.size, 1)
        )
        sides.append(Curves(lengths, loss * sizes, sizes))
    return *sides, language


def mean_of(baseline, candidate, language):
    losses = [
        np.stack([np.bincount(language, point) for point in one.amounts.mean(axis=0)], axis=1)
        / np.bincount(language, one.sizes)[:, None]
        for one in (baseline, candidate)
    ]
    return float(log_speedups(baseline.steps, losses[0], candidate.steps, losses[1])[0].mean())


@pytest.mark.parametrize(
    ("lengths", "planted", "found", "within"),
    [
        *((3, planted, planted, 0.05) for planted in (1.0, 1.5, 3.0, 5.0)),
        *((2, *pair, 0.02) for pair in ((1.0, 1.0), (1.5, 1.48), (2.0, 2.01), (3.0, 3.05))),
        (2, 5.0, 3.9, 0.026),  # with two lengths four is the most
    ],
)
def test_a_planted_speedup_is_recovered(lengths, planted, found, within):
    rngs = [np.random.default_rng(seed) for seed in range(10)]
    means = [mean_of(*drawn(rng, planted, 4, spread=0.005, lengths=LENGTHS[:lengths]))
             for rng in rngs]  # fmt: skip
    assert np.exp(np.mean(means)) == pytest.approx(found, rel=within)


def test_one_architecture_against_itself_is_one():
    """The means over languages spread around 1, as seeds move all languages at once."""
    found = [mean_of(*drawn(np.random.default_rng(seed), 1.0)) for seed in range(60)]
    assert abs(np.mean(found)) < 2.5 * np.std(found) / 60**0.5
    assert 0.3 < np.mean(np.array(found) > 0) < 0.7


@pytest.mark.simulation
@pytest.mark.parametrize("runs", [1, 2, 3, 4])
@pytest.mark.parametrize("planted", [1.0, 1.5, 3.0])
def test_the_interval_of_the_mean_covers(runs, planted):
    """With one run per side it is over pages only, so no run spreads here."""
    covered, draws, spread = 0, 600, 0.02 if runs > 1 else 0.0
    for seed in range(draws):
        sides = drawn(np.random.default_rng(seed), planted, runs, spread=spread)
        half = error_of_mean(*sides).half_width
        covered += abs(mean_of(*sides) - np.log(planted)) <= half
    assert 0.92 < covered / draws < 0.985  # three standard errors are 0.027


def test_the_standard_error_by_leaving_out_pages_and_runs():
    baseline, candidate, language = drawn(np.random.default_rng(1), 1.3, languages=3, pages=4)

    def mean(keep=slice(None), runs=(slice(None), slice(None))):
        sides = [
            Curves(LENGTHS, one.amounts[of][..., keep], one.sizes[keep])
            for one, of in zip((baseline, candidate), runs, strict=True)
        ]
        return mean_of(*sides, language[keep])

    without = [mean(np.arange(12) != page) - mean() for page in range(12)]
    of_pages = 3 / 4 * sum(one**2 for one in without)
    every = slice(None)
    of_runs = [
        sum((mean(runs=runs) - mean()) ** 2 for runs in both) / 2
        for both in ([([0], every), ([1], every)], [(every, [0]), (every, [1])])
    ]
    error = error_of_mean(baseline, candidate, language)
    assert error.variance == pytest.approx(of_pages + sum(of_runs), rel=1e-9)
    assert 1 <= error.degrees_of_freedom <= 9


def test_a_language_of_one_page_leaves_no_interval():
    baseline, candidate, language = drawn(np.random.default_rng(1), 1.3, languages=3, pages=1)
    assert error_of_mean(baseline, candidate, language) is None


def test_within_a_decaying_run_a_threefold_speedup_measures_less():
    """Why a report cautions: the loss falls with the rate, so all crossings lie near the end.

    A loss that lags behind its decayed value by a part that is proportional to the rate, which
    falls from 40 % of the run on; the candidate does in each step what the baseline does in three.
    """
    steps = np.arange(496, 15_873, 496)

    def curve(factor):
        rate = np.minimum(1, (steps[-1] - steps) / (0.6 * steps[-1]))
        return 1.5 + 8 * (steps * factor) ** -0.25 + 0.15 * rate

    found = float(np.exp(log_speedups(steps, curve(1), steps, curve(3))[0]))
    assert found == pytest.approx(float(THREEFOLD_WITHIN_A_DECAY), abs=0.01)


def test_summary_is_over_logarithms():
    speedups = [StepSpeedup(ratio, False) for ratio in (4.0, 0.5, 1.0, 16.0)]
    summary = summarise(speedups, StandardError(0.01, 1e9))
    assert summary.mean == pytest.approx(2**1.25)
    assert summary.median == pytest.approx(2.0)
    assert (summary.at_bound, summary.share_at_least_4) == (0, 0.5)
    assert np.log(summary.high / summary.mean) == pytest.approx(0.196, abs=1e-3)
    assert np.log(summary.low / summary.mean) == pytest.approx(-0.196, abs=1e-3)
    assert summarise(speedups, None).low is None


@pytest.mark.parametrize(
    ("bounds", "upper", "words"),
    [
        (1, 0, "0.88 to 1.30"),
        (2, 0, "at least 0.94"),
        (20, 0, "at least 3.29"),
        (2, 2, "at most 1.40"),
        (4, 2, ""),
    ],
)
def test_with_many_bounds_the_mean_has_one_end_or_none(bounds, upper, words):
    bound = StepSpeedup(4.0 * (1 - 4e-16), is_bound=True)  # 10,000 and 20,000 steps, rounded
    speedups = [bound] * bounds + [StepSpeedup(1.0, False)] * (20 - bounds)
    summary = summarise(speedups, StandardError(0.01, 1e9), upper)
    assert interval_in_words(summary.low, summary.high) == words
    assert (summary.at_bound, summary.share_at_least_4) == (bounds, bounds / 20)


@pytest.mark.simulation
def test_the_lower_end_holds_where_many_languages_are_at_a_lower_bound():
    """Five times as fast with two lengths, whose curves cannot show more than four times."""
    held, draws = 0, 300
    for seed in range(draws):
        sides = drawn(np.random.default_rng(seed), 5.0, lengths=LENGTHS[:2])
        held += mean_of(*sides) - error_of_mean(*sides).half_width <= np.log(5)
    assert held / draws > 0.95


ROUNDS = 20
seconds = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30)
pairs = seconds.flatmap(
    lambda one: st.tuples(
        st.just(one), st.lists(st.floats(1e-3, 1e3), min_size=len(one), max_size=len(one))
    )
).map(lambda both: tuple(map(np.array, both)))


@given(pairs)
def test_is_the_plain_t_interval_of_the_logarithms(sides):
    logs = [math.log(one / other) for one, other in zip(*sides, strict=True)]
    mean, spread = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    half = stats.t.ppf(0.975, len(logs) - 1) * spread
    found = step_time_ratio(*sides)
    expected = [math.exp(mean + sign * half) for sign in (-1, 1)]
    assert found.ratio == pytest.approx(math.exp(mean))
    assert found.ends == pytest.approx(expected, rel=1e-6)


@given(pairs)
def test_exchanged_sides_give_the_reciprocal(sides):
    there, back = step_time_ratio(*sides), step_time_ratio(*reversed(sides))
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.ends == pytest.approx([1 / end for end in reversed(back.ends)])


def test_a_time_speedup_is_a_product_whose_variances_add_up():
    steps = LogRatio(0.1, StandardError(0.004, 30.0))
    times = LogRatio(0.2, StandardError(0.003, 19.0))
    for found in (time_speedup(steps, times), time_speedup(times, steps)):
        assert (found.log, found.error.variance) == pytest.approx((0.3, 0.007))
        assert 19 < found.error.degrees_of_freedom < 19 + 30
    same = step_time_ratio(*[np.array([0.4, 0.7, 0.5])] * 2)
    assert (same.ratio, same.ends) == (1.0, (1.0, 1.0))
    assert time_speedup(steps, same).ends == pytest.approx(steps.ends)
    without = time_speedup(LogRatio(math.log(3), None), times)
    assert (without.ratio, without.ends) == (pytest.approx(3 * times.ratio), (None, None))


def drawn_rounds(rng: np.random.Generator, log_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds on a machine that slows both sides of a round alike, and each a little by itself."""
    both = rng.exponential(0.5, ROUNDS) + rng.choice([0.0, 1.0], ROUNDS, p=[0.8, 0.2])
    ours, theirs = rng.gamma(4, 0.01, (2, ROUNDS))
    return np.exp(both + ours + log_ratio), np.exp(both + theirs)


@pytest.mark.parametrize("planted", [1.0, 0.7, 3.0])
def test_the_interval_of_the_ratio_covers(planted):
    covered = 0
    for seed in range(2000):
        rounds = drawn_rounds(np.random.default_rng(seed), math.log(planted))
        low, high = step_time_ratio(*rounds).ends
        covered += low <= planted <= high
    assert 0.94 < covered / 2000 < 0.96


@pytest.mark.parametrize(
    ("freedom", "of_steps", "of_rounds"),
    [*itertools.product([30.0], [0.002, 0.02], [0.002, 0.02]), (2.0, 0.01, 0.01)],
)
def test_the_interval_of_the_time_speedup_covers(freedom, of_steps, of_rounds):
    """The step speed-up's error is normal, and its variance a scaled chi-squared."""
    rng, covered, truth = np.random.default_rng(1), 0, math.log(1.5 * 0.8)
    for _ in range(1000):
        variance = of_steps * rng.chisquare(freedom) / freedom
        steps = LogRatio(
            math.log(1.5) + rng.normal(0, of_steps**0.5), StandardError(variance, freedom)
        )
        logs = math.log(0.8) + rng.normal(0, (of_rounds * ROUNDS) ** 0.5, ROUNDS)
        low, high = time_speedup(steps, step_time_ratio(np.exp(logs), np.ones(ROUNDS))).ends
        covered += low <= math.exp(truth) <= high
    assert 0.93 <= covered / 1000 <= 0.98


NAMES = "mT5", "Switch"
STEPS_STEP_TIMES = LogRatio(np.log(2.0), StandardError(0.01, 50.0))


def measured(factor):
    """Rounds in which the candidate's steps take `factor` times as long, up to a percent."""
    baseline = np.array([0.4, 0.9, 0.4, 0.5])
    noise = np.array([1.01, 0.99, 1.0, 1.0])
    return Rounds(
        baseline_run="mt5 (seed 0)",
        candidate_run="switch (seed 0)",
        devices="1 × cpu",
        steps=2,
        baseline_seconds=baseline,
        candidate_seconds=baseline * noise * factor,
    )


@pytest.mark.parametrize(
    ("factor", "meaning"),
    [
        (1.25, "Switch needs less time than mT5 for equal quality, in the mean over languages."),
        (2.0, "no difference in time was detected on these devices."),
        (4.0, "Switch needs more time than mT5 for equal quality, in the mean over languages."),
    ],
)
def test_the_sentence_means_what_the_interval_does(factor, meaning):
    found = step_times(measured(factor), STEPS_STEP_TIMES)
    said = sentence(found, NAMES, "pages only")
    assert said.endswith(meaning)
    assert ", over pages and the rounds)" in said


def test_with_one_seed_a_side_there_is_a_number_and_no_verdict():
    found = step_times(measured(1.25), STEPS_STEP_TIMES)
    one, two = (dataclasses.replace(make(runs=runs), step_times=found) for runs in ((1, 1), (2, 2)))
    assert one.time_sentence.endswith(", over pages and the rounds): one seed: no verdict.")
    assert "Switch needs less time than mT5" in two.time_sentence


def test_without_a_step_speedup_there_is_a_ratio_alone():
    found = step_times(measured(1.25), None)
    assert found.time_speedup is found.time_speedup_low is None
    assert sentence(found, NAMES, "pages only").endswith(
        "Without a step speed-up no time speed-up follows."
    )
    made = dataclasses.replace(make(), step_times=found)
    assert "Time: their product" not in to_html(made)


def test_every_format_has_the_numbers_or_says_how_to_measure_them():
    found = step_times(measured(1.25), STEPS_STEP_TIMES)
    assert (found.baseline_step_seconds, found.rounds) == (0.225, 4)
    assert found.step_time_ratio == pytest.approx(0.8, rel=1e-3)
    assert found.time_speedup == pytest.approx(2 * found.step_time_ratio)
    made = dataclasses.replace(make(), step_times=found)
    markdown, page, said = to_markdown(made), to_html(made), made.time_sentence
    assert "a step takes 0.225 s with mT5 and 0.282 s with Switch, a ratio of 0.800" in said
    assert said in markdown
    assert f"<p>{said}</p>" in page
    assert to_json(made)["step_times"] == dataclasses.asdict(found)
    assert all(f"| {name.replace('_', ' ')} | " in markdown for name in dataclasses.asdict(found))
    assert f"<dt>Mean time speed-up</dt><dd>{found.time_speedup:.2f}" in page
    none = make()
    assert to_json(none)["step_times"] is None
    for text in (to_markdown(none), to_html(none), to_json(none)["time_sentence"]):
        assert "No time speed-up is given: mswitch time measures step times" in text
        assert "Mean time speed-up" not in text
