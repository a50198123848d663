"""Both sides of a report on one task: scores and gains, by fine-tuning, metric and language.

A mode is a choice of training languages. Examples that share text with the pretraining corpus in
any run are left out of the scores "without overlaps", so both sides keep the same examples. Where
no run looked for overlap with an example, the number of overlaps is None, which is not 0.

A parallel text has nats per sentence. The sentences of all languages are translations of each
other, so losses are not divided by tokens or bytes, and are comparable across languages and
vocabularies. A higher loss need not mean that a language is understood worse: it may need more
words for the same content. A sentence that any run truncated is left out in its language, for all
runs.

The words for both, on the page and in Markdown, stand at the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from eval import compare
from eval.compare import Estimate, Tally
from eval.experts import ExpertSharing
from eval.tasks.metrics import Metric, mean_metric, mean_statistics
from eval.tasks.predictions import Predictions, check_same_examples
from eval.tasks.scores import Runs, task_scores

SENTENCES_SCHEMA = pa.schema(
    [
        ("language", pa.string()),
        ("identity", pa.string()),
        ("loss_nats", pa.float64()),
        ("tokens", pa.int32()),
        ("text_bytes", pa.int32()),
        ("cut", pa.bool_()),
    ]
)
AMOUNTS: Mapping[str, tuple[int, int]] = dict.fromkeys(
    ("loss_nats", "tokens", "text_bytes"), (0, 2**31 - 1)
)
MOST = 100.0  # percent of a score, or percentage points of a gain in either direction


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One number of both sides: of a language, or the mean over languages.

    Attributes:
        baseline, candidate: the number of each side.
        gain: difference of the sides, above zero where the candidate is better.
    """

    baseline: Estimate
    candidate: Estimate
    gain: Estimate

    @property
    def verdict(self) -> str:
        """`better` or `worse` beyond noise, otherwise `unclear`."""
        verdict = self.gain.verdict
        return "unclear" if verdict == "uncorrected" else verdict


@dataclass(frozen=True, kw_only=True)
class MetricScores:
    """Scores of both sides by one metric.

    Attributes:
        metric: name of the metric.
        without_overlaps: whether examples that overlap with the pretraining corpus are left out.
        mean: mean over languages; None where no language has two examples.
        languages: by code.
    """

    metric: str
    without_overlaps: bool
    mean: Compared | None
    languages: Mapping[str, Compared]

    @property
    def label(self) -> str:
        """The metric, and what is left out."""
        return self.metric + (", without overlaps" if self.without_overlaps else "")

    @property
    def tally(self) -> Tally:
        """Number of languages that are better and worse, script variants left out."""
        return compare.tally({code: row.gain for code, row in self.languages.items()})


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Scores of both sides in one mode.

    Attributes:
        name: training languages, in words.
        trained_on: their codes; all if empty.
        baseline_seeds, candidate_seeds: seeds of each side's runs.
        examples: number of examples in all languages.
        overlapping: number of those that overlap with the pretraining corpus; None if that was not
            looked for.
        overlapping_by_language: the same by language.
        scores: one entry per metric, then the same without overlaps where there are any.
    """

    name: str
    trained_on: tuple[str, ...]
    baseline_seeds: tuple[int, ...]
    candidate_seeds: tuple[int, ...]
    examples: int
    overlapping: int | None
    overlapping_by_language: Mapping[str, int] | None
    scores: tuple[MetricScores, ...]


@dataclass(frozen=True, kw_only=True)
class TaskComparison:
    """A task as a report shows it.

    Attributes:
        name: name of the task.
        split: split that was predicted.
        modes: its modes.
        largest_class: accuracy of always the commonest label, in percent, mean over languages; None
            without labels.
        random_label: accuracy of a random label, in percent; None without labels.
        experts: expert use of one candidate run on its examples; None where none is recorded.
    """

    name: str
    split: str
    modes: tuple[Mode, ...]
    largest_class: float | None = None
    random_label: float | None = None
    experts: ExpertSharing | None = None

    @property
    def labels(self) -> list[str]:
        """Metrics of any mode, each once."""
        return list(dict.fromkeys(scores.label for mode in self.modes for scores in mode.scores))

    @property
    def overlapping(self) -> Mapping[str, int] | None:
        """Number of overlapping examples by language; None where no mode has it."""
        by_mode = (mode.overlapping_by_language for mode in self.modes)
        return next((overlapping for overlapping in by_mode if overlapping is not None), None)

    def by(self, label: str) -> dict[str, MetricScores]:
        """Returns the scores by one metric of each mode that has it."""
        return {
            mode.name: scores
            for mode in self.modes
            for scores in mode.scores
            if scores.label == label
        }


def language_codes(scores: Mapping[str, MetricScores]) -> list[str]:
    """Returns the languages of any of the scores, ordered by code."""
    return sorted({code for of_mode in scores.values() for code in of_mode.languages})


def mode_scores(
    name: str,
    baseline: Mapping[int, Predictions],
    candidate: Mapping[int, Predictions],
    metrics: Iterable[Metric],
    *,
    trained_on: tuple[str, ...] = (),
) -> Mode:
    """Returns both sides' scores in one mode.

    Args:
        name: the mode, in words.
        baseline, candidate: predictions of each side by seed.
        metrics: metrics of the task.
        trained_on: training languages; all if empty.

    Raises:
        DataError: if the runs predicted different examples.
    """
    sides = list(baseline.values()), list(candidate.values())
    check_same_examples([*sides[0], *sides[1]])
    overlapping = _overlapping([*sides[0], *sides[1]])
    kept: list[tuple[Runs, ...]] = [sides]
    if overlapping is not None and overlapping.any():
        kept.append(tuple([run.only(~overlapping) for run in runs] for runs in sides))
    languages, of_example = sides[0][0].by_language
    counts = None if overlapping is None else np.bincount(of_example, overlapping, len(languages))
    return Mode(
        name=name,
        trained_on=trained_on,
        baseline_seeds=tuple(baseline),
        candidate_seeds=tuple(candidate),
        examples=of_example.size,
        overlapping=None if counts is None else int(counts.sum()),
        overlapping_by_language=None
        if counts is None
        else dict(zip(languages, counts.astype(int).tolist(), strict=True)),
        scores=tuple(
            compare_scores(metric, *runs, without_overlaps=number > 0)
            for number, runs in enumerate(kept)
            for metric in metrics
            if runs[0][0].language.size
        ),
    )


def compare_scores(
    metric: Metric,
    baseline: Runs,
    candidate: Runs,
    *,
    without_overlaps: bool = False,
    less_is_better: bool = False,
) -> MetricScores:
    """Returns both sides' scores by one metric, each run scored once.

    Raises:
        DataError: if the runs predicted different examples.
    """
    check_same_examples([*baseline, *candidate])
    scores = [task_scores(runs, metric) for runs in (baseline, candidate)]
    signs = (1.0, -1.0) if less_is_better else (-1.0, 1.0)
    parts = *([(1.0, of_side)] for of_side in scores), [*zip(signs, scores, strict=True)]
    baseline_scores, candidate_scores, gains = map(compare.each, parts)
    return MetricScores(
        metric=metric.name,
        without_overlaps=without_overlaps,
        mean=_all_or_none(*map(compare.mean, parts)),
        languages={
            code: Compared(
                baseline=baseline_scores[code], candidate=candidate_scores[code], gain=gain
            )
            for code, gain in gains.items()
        },
    )


def _all_or_none(
    baseline: Estimate | None, candidate: Estimate | None, gain: Estimate | None
) -> Compared | None:
    if baseline is None or candidate is None or gain is None:
        return None
    return Compared(baseline=baseline, candidate=candidate, gain=gain)


def _overlapping(runs: Sequence[Predictions]) -> Bool[np.ndarray, " examples"] | None:
    """Returns whether each example overlaps in any run; None if one was not looked at."""
    if not np.any([run.compared for run in runs], axis=0).all():
        return None
    return np.any([run.overlaps for run in runs], axis=0)


@dataclass(frozen=True, kw_only=True)
class SentenceComparison:
    """A parallel text as a report shows it.

    Attributes:
        name: name of the text.
        sentences: number of sentences in all languages.
        cut: number of those that are left out, because a run cut them.
        scores: nats per sentence.
    """

    name: str
    sentences: int
    cut: int
    scores: MetricScores


def sentence_comparison(
    name: str, baseline: Sequence[pa.Table], candidate: Sequence[pa.Table]
) -> SentenceComparison | None:
    """Returns both sides' nats per sentence; None where every sentence is cut.

    Args:
        name: name of the text.
        baseline, candidate: a table of `SCHEMA` per run.

    Raises:
        DataError: if the runs scored different sentences.
    """
    order = [("language", "ascending"), ("identity", "ascending")]
    tables = [table.sort_by(order) for table in (*baseline, *candidate)]
    runs = [_sentences(table) for table in tables]
    check_same_examples(runs)
    whole = ~np.any([table["cut"].to_numpy() for table in tables], axis=0)
    if not whole.any():
        return None
    kept = [run.only(whole) for run in runs]
    losses = [table["loss_nats"].to_numpy()[whole] for table in tables]
    scores = compare_scores(
        _nats(kept, losses),
        kept[: len(baseline)],
        kept[len(baseline) :],
        less_is_better=True,
    )
    return SentenceComparison(
        name=name, sentences=whole.size, cut=int((~whole).sum()), scores=scores
    )


def _nats(runs: Sequence[Predictions], losses: Sequence[np.ndarray]) -> Metric:
    """Returns the mean loss as a metric of these runs."""
    by_run = {id(run): mean_statistics(of_run) for run, of_run in zip(runs, losses, strict=True)}
    return mean_metric("nats per sentence", lambda run: by_run[id(run)], scale=1.0)


def _sentences(table: pa.Table) -> Predictions:
    """Returns the sentences, as examples without a prediction."""
    nothing = np.full(table.num_rows, None, object)
    return Predictions(
        language=table["language"].to_numpy(),
        identity=table["identity"].to_numpy(),
        answers=nothing,
        prediction=nothing,
        likeliest_label=nothing,
        overlaps=np.zeros(table.num_rows, bool),
        compared=np.zeros(table.num_rows, bool),
    )


def shown(compared: Compared, most: float | None = MOST) -> Compared:
    """Returns the numbers, their intervals clipped to the possible range unless `most` is None.

    Intervals are symmetric, and two runs leave one degree of freedom: a half width of 12.7 standard
    errors. So an interval can extend beyond 0 or 100 %. Only what is shown is clipped; report.json
    and the CSV keep the ends from which the standard error follows. On a logit scale no end would
    exceed the range, but a score of 0 or 100 % has no logit, nor has a gain.
    """
    if most is None:
        return compared
    return replace(
        compared,
        baseline=_clip(compared.baseline, 0.0, most),
        candidate=_clip(compared.candidate, 0.0, most),
        gain=_clip(compared.gain, -most, most),
    )


def _clip(number: Estimate, least: float, most: float) -> Estimate:
    if number.low is None or number.high is None:
        return number
    return replace(number, low=max(number.low, least), high=min(number.high, most))


def about(task: TaskComparison) -> str:
    """Returns a description of a task's numbers."""
    without_reading = (
        f" Always the largest class has {task.largest_class:.1f}, a random label "
        f"{task.random_label:.1f}."
        if task.largest_class is not None
        else ""
    )
    one_seed = (
        " With one seed on a side, how another would have fallen is in no interval: no verdict."
        if any(1 in map(len, (mode.baseline_seeds, mode.candidate_seeds)) for mode in task.modes)
        else ""
    )
    return (
        f"{task.name}, {task.split} data, {task.modes[0].examples:,} examples. Scores are in "
        "percent, means over languages and seeds; gains are in percentage points, candidate minus "
        "baseline, with 95% intervals in which all translations of a sentence are one draw. "
        "Intervals are shown up to 0 and 100; report.json has them whole. "
        f"“Beyond noise” is corrected for the number of languages.{one_seed}{without_reading}"
    )


def overlaps(task: TaskComparison) -> str:
    """Returns how many examples overlap with the pretraining corpus."""
    known = [mode for mode in task.modes if mode.overlapping is not None]
    if not known:
        return (
            "Overlap of examples with the pretraining corpus was not looked for; --corpus of "
            "`mswitch finetune` and `mswitch evaluate` looks for it."
        )
    mode = next((mode for mode in known if mode.overlapping), known[0])
    shared = f"{mode.overlapping:,} of {mode.examples:,} examples share text with the pretraining "
    if not mode.overlapping:
        return f"{shared}corpus."
    return f"{shared}corpus; scores “without overlaps” leave them out on both sides."


def about_experts(task: TaskComparison) -> str:
    """Returns a description of a task's expert use; empty where there is none."""
    if task.experts is None:
        return ""
    return (
        f"One candidate run ({task.experts.run}, step {task.experts.step:,}): how the tokens of "
        f"the {task.split} inputs (encoder) and of their right targets (decoder) were routed, "
        "without capacity."
    )


def seeds(mode: Mode) -> str:
    """Returns the seeds of both sides, once where they are the same."""
    baseline = ", ".join(map(str, mode.baseline_seeds))
    candidate = ", ".join(map(str, mode.candidate_seeds))
    return baseline if baseline == candidate else f"{baseline} against {candidate}"


def about_sentences(text: SentenceComparison) -> str:
    """Returns a description of nats per sentence, with the number left out."""
    cut = (
        f" {text.cut:,} of {text.sentences:,} sentences are longer than a row of some run, and "
        "left out in their language: there, languages compare less well."
        if text.cut
        else ""
    )
    return (
        f"{text.name}: nats per sentence of the pretrained runs, every token hidden once. All "
        "languages say the same, so the numbers compare languages and vocabularies. Form is not "
        "meaning: a language may need more words. Gain is baseline minus candidate, above zero "
        f"where the candidate is better.{cut}"
    )
