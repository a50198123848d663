"""Scores and gains, recomputed in plain pandas, by the jackknife, and by simulation."""

import collections
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from recompute_metrics import METRICS
from scipy import stats
from task_predictions import answered, classified, read

from eval import compare
from eval.tasks import comparison
from eval.tasks.metrics import ACCURACIES, CHRF, F1, SQUAD_F1, task_metrics
from eval.tasks.scores import task_scores


def language_scores(runs, metric):
    return compare.each([(1.0, task_scores(runs, metric))])


def mean_score(runs, metric):
    return compare.mean([(1.0, task_scores(runs, metric))])


def gain(baseline, candidate, metric):
    return [(1.0, task_scores(candidate, metric)), (-1.0, task_scores(baseline, metric))]


def language_gains(*sides):
    return compare.each(gain(*sides))


def mean_gain(*sides):
    return compare.mean(gain(*sides))


MADE = {"accuracy": classified, "f1": answered, "squad_f1": answered, "chrf": answered}
EVERY = [(made, metric) for kind, made in MADE.items() for metric in task_metrics(kind, True)]
NAMES = [metric.name for _, metric in EVERY]


@pytest.mark.parametrize(("made", "metric"), EVERY, ids=NAMES)
def test_scores_are_those_of_plain_pandas(made, metric):
    """Those by which published reports are recomputed, without this code."""
    table = made(1)
    of_row, of_sums = METRICS[metric.name]
    rows = table.to_pandas()
    rows["sums"] = rows.apply(of_row, axis=1)
    expected = rows.groupby("language")["sums"].apply(lambda sums: of_sums(np.sum(list(sums), 0)))
    found = language_scores([read(table)], metric)
    assert {code: one.value for code, one in found.items()} == pytest.approx(expected.to_dict())
    mean = mean_score([read(table)], metric)
    assert mean is not None
    assert mean.value == pytest.approx(expected.mean())


def test_an_answer_without_spaces_is_not_one_word():
    chinese = [language_scores([read(answered(1))], one)["zh"].value for one in (F1, SQUAD_F1)]
    assert chinese[0] > chinese[1] + 5


def test_chrf_is_that_of_the_library():
    from sacrebleu.metrics.chrf import CHRF as Library

    table = answered(2)
    single = table.to_pandas().assign(answers=lambda rows: rows["answers"].str[:1])
    found = language_scores([read(pa.Table.from_pandas(single, table.schema))], CHRF)
    for code, rows in single.groupby("language"):
        library = Library().corpus_score(
            rows["prediction"].tolist(), [rows["answers"].str[0].tolist()]
        )
        assert found[code].value == pytest.approx(library.score)


def test_few_examples_that_change_alike_are_no_finding():
    """By a sign test three of three have a p-value of 0.25, and eight of eight one of 0.008."""

    def run(examples: int, right: bool):
        found = read(classified(0, ("sw",), sentences=examples))
        said = [own[0] if right else "" for own in found.answers]
        return replace(found, prediction=np.array(said, object))

    for examples, least in ((2, 0.5), (3, 0.25), (8, 2**-7)):
        sides = [[run(examples, right)] for right in (False, True)]
        compared = comparison.compare_scores(ACCURACIES[1], *sides)
        gain = compared.languages["sw"].gain
        assert (gain.value, gain.low, gain.high, gain.p_value) == (100, None, None, least)
        assert compared.languages["sw"].verdict == ("better" if least < 0.05 else "unclear")


@pytest.mark.parametrize(("made", "metric"), EVERY, ids=NAMES)
def test_the_gradient_is_that_of_finite_differences(made, metric):
    sums = metric.statistics(read(made(3))).sum(axis=0)
    steps = np.eye(sums.size) * 1e-4
    expected = [(metric.score(sums + step) - metric.score(sums - step)) / 2e-4 for step in steps]
    assert metric.gradient(sums) == pytest.approx(np.array(expected), abs=1e-6)
    assert metric.gradient(sums) @ sums == pytest.approx(0, abs=1e-9)
    assert not metric.gradient(np.array([0.0, 5.0] if sums.size == 2 else [3.0, 4.0, 0.0] * 6))[
        1:
    ].any()


@pytest.mark.parametrize("metric", ACCURACIES, ids=lambda one: one.name)
def test_a_mean_has_the_jackknife_over_sentences_in_all_languages(metric):
    sides = [[read(classified(seed))] for seed in (0, 5)]
    gain = mean_gain(sides[0], sides[1], metric)
    assert gain is not None
    value = {}
    for left_out in [None, *sorted(set(sides[0][0].identity))]:
        chosen = sides[0][0].identity != left_out
        rest = [mean_score([side[0].only(chosen)], metric).value for side in sides]
        value[left_out] = rest[1] - rest[0]
    count = len(value) - 1
    squares = sum((one - value[None]) ** 2 for one in value.values())
    half = stats.t.isf(0.025, count - 1) * (squares * (count - 1) / count) ** 0.5
    assert (gain.value, gain.low, gain.high) == pytest.approx(
        (value[None], value[None] - half, value[None] + half)
    )
    assert (gain.examples, gain.languages) == (30, 3)


def test_chrf_has_nearly_the_jackknife():
    found = read(answered(4, sentences=60))
    english = found.only(found.language == "en")
    score = language_scores([english], CHRF)["en"]
    keep = ~np.eye(60, dtype=bool)
    values = [language_scores([english.only(one)], CHRF)["en"].value for one in keep]
    squares = sum((one - np.mean(values)) ** 2 for one in values)
    half = stats.t.isf(0.025, 59) * (squares * 59 / 60) ** 0.5
    assert score.high - score.value == pytest.approx(half, rel=0.05)


def test_sentences_that_no_other_language_has_are_draws_of_their_own():
    found = read(classified(0, codes=("en", "sw"), sentences=20))
    apart = replace(found, identity=np.array([f"{n:02}" for n in range(40)], object))
    mean, each = (
        mean_score([apart], ACCURACIES[0]),
        language_scores([apart], ACCURACIES[0]),
    )
    variances = [((one.high - one.value) / stats.t.isf(0.025, 19)) ** 2 for one in each.values()]
    freedom = sum(variances) ** 2 / sum(one**2 / 19 for one in variances)
    assert mean.high - mean.value == pytest.approx(
        stats.t.isf(0.025, freedom) * sum(variances) ** 0.5 / 2
    )
    shared = mean_score([found], ACCURACIES[0])
    assert shared.value == pytest.approx(mean.value)
    assert shared.high - shared.low > mean.high - mean.low  # a sentence is hard in both languages


def test_the_same_run_in_every_language_counts_once():
    english = classified(0, codes=("en",))
    at = english.schema.get_field_index("language")
    swahili = english.set_column(at, "language", pa.array(["sw"] * 30))
    mean = mean_score([read(pa.concat_tables([english, swahili]))], ACCURACIES[0])
    single = language_scores([read(english)], ACCURACIES[0])["en"]
    assert mean is not None
    assert (mean.low, mean.high) == pytest.approx((single.low, single.high))


def test_gains_are_differences_of_means_over_runs():
    dense, sparse = ([read(classified(seed)) for seed in seeds] for seeds in ((0, 1), (2, 3, 4)))
    gains = language_gains(dense, sparse, ACCURACIES[0])
    one, other = (language_scores(runs, ACCURACIES[0]) for runs in (dense, sparse))
    for code, gain in gains.items():
        assert gain.value == pytest.approx(other[code].value - one[code].value)
        back = language_gains(sparse, dense, ACCURACIES[0])[code]
        assert (back.value, back.low, back.high) == pytest.approx(
            (-gain.value, -gain.high, -gain.low)
        )
    same = mean_gain(dense, dense, ACCURACIES[0])
    assert same is not None
    assert same.value == 0


def test_as_many_right_on_both_sides_are_a_tie():
    """Both sides have 106 of 408 right, and their means differ in the last bit."""
    found = read(classified(0, ("su",), sentences=204))

    def run(right: int):
        said = [own[0] if at < right else "" for at, own in enumerate(found.answers)]
        return replace(found, prediction=np.array(said, object))

    dense, sparse = [run(54), run(52)], [run(51), run(55)]
    means = [language_scores(runs, ACCURACIES[1])["su"] for runs in (dense, sparse)]
    assert means[0].value != means[1].value
    counted = comparison.compare_scores(ACCURACIES[1], dense, sparse)
    assert counted.languages["su"].gain.value == 0
    assert (counted.tally.better, counted.tally.worse) == (0, 0)


def test_a_language_with_one_example_has_no_interval():
    found = read(classified(0, sentences=1))
    score = language_scores([found], ACCURACIES[0])["en"]
    assert (score.low, score.high, score.examples) == (None, None, 1)
    assert mean_score([found], ACCURACIES[0]) is None


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("runs", "sentences", "spread"), [(1, 40, 0.0), (1, 204, 0.0), (2, 204, 0.1), (3, 40, 0.3)]
)
def test_coverage_is_near_95_percent(runs, sentences, spread):
    """Eight languages share sentences, as difficult in all; runs differ by `spread` logits."""
    draws, covered = 400, collections.Counter()
    template = read(classified(0, LANGUAGES, sentences))
    apart = np.array([f"{n}" for n in range(template.identity.size)], object)
    levels = _expected(0.0, spread), _expected(0.5, spread)
    for seed in range(draws):
        sides = simulated(np.random.default_rng(seed), template, runs, spread)
        gain = mean_gain(*sides, ACCURACIES[1])
        english = language_gains(*sides, ACCURACIES[1])["en"]
        score = mean_score(sides[0], ACCURACIES[1])
        loose = mean_score([replace(one, identity=apart) for one in sides[0]], ACCURACIES[1])
        covered["mean gain"] += _holds(gain, levels[1] - levels[0])
        covered["gain"] += _holds(english, levels[1] - levels[0])
        covered["mean score"] += _holds(score, levels[0])
        covered["mean score without clusters"] += _holds(loose, levels[0])
    shares = {name: count / draws for name, count in covered.items()}
    without = shares.pop("mean score without clusters")
    assert all(0.90 < share < 0.99 for share in shares.values()), shares
    assert without < shares["mean score"]
    assert runs > 1 or without < 0.75


LANGUAGES = ("en", "sw", "yo", "zh", "th", "de", "fr", "ru")
SPREAD_OF_SENTENCES, NOISE = 1.0, 0.7


def simulated(rng, template, runs, spread):
    """Returns two sides; the second is better by half a logit."""
    _, of_sentence = np.unique(template.identity.astype(str), return_inverse=True)
    hard = rng.normal(0, SPREAD_OF_SENTENCES, of_sentence.max() + 1)[of_sentence]
    right = np.array([one[0] for one in template.answers])
    return [
        [
            replace(template, prediction=np.where(logits > 0, right, "wrong").astype(object))
            for _ in range(runs)
            for logits in [level + rng.normal(0, spread) + hard + rng.normal(0, NOISE, hard.size)]
        ]
        for level in (0.0, 0.5)
    ]


def _expected(level: float, spread: float) -> float:
    """Returns the expected accuracy in percent over sentences, noise and runs."""
    return 100 * stats.norm.cdf(level / np.sqrt(SPREAD_OF_SENTENCES**2 + NOISE**2 + spread**2))


def _holds(found: compare.Estimate, truth: float) -> bool:
    return found.low <= truth <= found.high
