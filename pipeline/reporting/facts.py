"""Facts of a report beside its losses: each side's runs, their training text, their time and cost.

Such are names and metrics of runs, their step times, the bill of upcycled runs, and lines that
held-out pages share with training pages.

A run's recipe.json holds the digest of its tokens, and the manifest of the tokens those of their
corpora. So a report never shows the funnel, training tokens or shared lines of one corpus beside
runs that were trained on another.

Shared lines of 114 MB of text take three seconds. A corpus that would take minutes is not read for
a report: the result is then None, and the report carries a caution.
"""

import itertools
from collections.abc import Iterator, Sequence
from statistics import fmean, median

from data.dedup.shared_lines import SharedLines, shared_lines
from data.files.digests import checked_copy, digest_of_contents
from data.files.paths import Place
from data.languages import UNDETERMINED
from data.tokens.manifest import SplitTokens, TokenManifest
from eval import sides, speed_up
from eval.frontier import Network, NetworkRun
from eval.gains import Comparison, TrainingText
from eval.groups import Bill
from eval.losses import Unit
from eval.sides import RunFacts, Side
from eval.speed_up import Rounds, StepTimes
from pipeline import artifacts
from pipeline.artifacts import json_leaves
from pipeline.corpus.pages import page_files, page_texts, read_corpus
from pipeline.errors import ArtifactError
from pipeline.reporting.sides import beginning, without_experts
from pipeline.runs.directory import RECIPE
from pipeline.runs.finished import FinishedRun, MeasuredRun, count_devices, read_step_times

LATER = "tokens_from_"  # and the step: an input of a run whose tokens changed
MOST_CHARACTERS = 2_000_000_000  # of a corpus: a minute of one core


def median_metric(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns the median of a metric over all steps of all runs, or None if not recorded."""
    lines = (line for run in runs for line in run.metrics)
    values = [value for line in lines if (value := line.get(name)) is not None]
    return float(median(values)) if values else None


def spread_over_tenths(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns by what factor a metric changed within a run, for the run where it changed most.

    A run's values are cut into tenths; the factor is the greatest ÷ the least of their medians.
    None if every run recorded the metric fewer than twenty times: a tenth would be one value.
    """
    spreads = []
    for run in runs:
        values = [value for line in run.metrics if (value := line.get(name)) is not None]
        if len(values) >= 20:
            ends = [len(values) * tenth // 10 for tenth in range(11)]
            medians = [median(values[first:end]) for first, end in itertools.pairwise(ends)]
            spreads.append(max(medians) / min(medians))
    return max(spreads, default=None)


def mean_of_last_tenth(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns the mean over runs of a metric's mean over the last tenth of each one's steps.

    None where no run recorded it. A line counts for the steps that it covers: a run that was
    stopped has a line for fewer.
    """
    means = [mean for run in runs if (mean := _mean_of_last_tenth(run, name)) is not None]
    return fmean(means) if means else None


def _mean_of_last_tenth(run: FinishedRun, name: str) -> float | None:
    recorded = [
        (line.get("step") or 0, value, line.get("steps") or 1)
        for line in run.metrics
        if (value := line.get(name)) is not None
    ]
    late = [entry for entry in recorded if entry[0] > 0.9 * run.last_step] or recorded[-1:]
    _, values, steps = zip(*late, strict=True) if late else ((), (), ())
    return fmean(values, steps) if values else None


def side_names(baseline: FinishedRun, candidate: FinishedRun) -> tuple[str, str]:
    """Returns `mT5` (or `T5`) and `Switch`, or recipe names where both are of one kind."""
    kinds = _kind(baseline), _kind(candidate)
    if kinds[0] != kinds[1]:
        return kinds
    recipes = (baseline.recipe["name"], candidate.recipe["name"])
    if recipes[0] != recipes[1]:
        return recipes
    return f"{kinds[0]} (baseline)", f"{kinds[1]} (candidate)"


def _kind(run: FinishedRun) -> str:
    dense = "T5" if run.recipe["name"].startswith("t5-") else "mT5"
    kind = dense if run.switch is None else "Switch"
    return f"{kind} (imported {run.recipe['name']})" if run.imported else kind


def network_names(kind: str, networks: Sequence[Sequence[FinishedRun]]) -> list[str]:
    """Returns the names of a side's networks: its own if it has one, otherwise what differs."""
    if len(networks) == 1:
        return [kind]
    models = [json_leaves(without_experts(runs[0].recipe)["model"]) for runs in networks]
    widths = [model["embed"] for model in models]
    if len({*widths}) == len(widths):
        return [f"{kind} of width {width}" for width in widths]
    names = dict.fromkeys(name for model in models for name in model)
    differing = [name for name in names if len({model.get(name) for model in models}) > 1]
    return [
        f"{kind} ({', '.join(f'{name} {model.get(name)}' for name in differing)})"
        for model in models
    ]


def network(name: str, side: str, runs: Sequence[FinishedRun]) -> Network:
    """Returns a network of a report with its costs.

    Args:
        name: its name.
        side: name of its side.
        runs: its runs of all seeds and lengths.
    """
    about, model = runs[0].about, runs[0].recipe["model"]
    paces = [_step_device_seconds(run) for run in runs]
    known = [pace for pace in paces if pace is not None]
    flops, tokens = (
        about.flops_per_sequence,
        about.lengths and about.lengths.inputs + about.lengths.targets,
    )
    return Network(
        name=name,
        side=side,
        width=model["embed"],
        parameters=about.parameters,
        flops_per_token=flops / tokens if flops and tokens else None,
        step_device_seconds=median(known) if known else None,
        devices=tuple(sorted({kind for run in runs for kind in run.devices})),
        runs=tuple(
            NetworkRun(
                seed=run.recipe["seed"],
                steps=run.last_step,
                device_seconds=None if pace is None else pace * run.last_step,
                pages=run.pages,
            )
            for run, pace in zip(runs, paces, strict=True)
        ),
    )


def _step_device_seconds(run: FinishedRun) -> float | None:
    seconds = median_metric([run], "seconds")
    return seconds * len(run.devices) if seconds and run.devices and run.last_step else None


def run_facts(side: Side, runs: Sequence[FinishedRun], all_runs: Sequence[FinishedRun]) -> RunFacts:
    """Returns the facts about a side: its recipe, size, devices, speed and losses.

    Args:
        side: the side.
        runs: its runs of greatest length.
        all_runs: its runs of all lengths, whose commits are named.
    """
    first = runs[0]
    totals = [sides.total_curve(run, Unit.NATS_PER_TOKEN)[-1] for run in side.runs]
    return RunFacts(
        name=side.name,
        recipe=first.recipe["name"],
        seeds=side.seeds,
        parameters=first.about.parameters,
        flops_per_sequence=first.about.flops_per_sequence,
        experts=first.experts,
        devices=" + ".join(sorted({count_devices(run.devices) for run in runs})),
        steps=first.last_step,
        step_seconds=median_metric(runs, "seconds"),
        step_seconds_spread=spread_over_tenths(runs, "seconds"),
        tokens_per_second=median_metric(runs, "tokens_per_second"),
        dropped_share=(None if first.switch is None else mean_of_last_tenth(runs, "dropped_share")),
        training_loss_nats=mean_of_last_tenth(runs, "loss_nats"),
        held_out_loss_nats=tuple(float(total) for total in totals),
        commits=tuple(dict.fromkeys(commit for run in all_runs for commit in run.about.commits)),
    )


def measured_step_times(
    directory: Place | None,
    comparison: Comparison,
    sides: Sequence[Sequence[FinishedRun]],
) -> StepTimes | None:
    """Returns the measured step times of both sides; None if none were named.

    Args:
        directory: what `mswitch time` wrote.
        comparison: the comparison of both sides.
        sides: runs of the baseline and of the candidate.

    Raises:
        ArtifactError: if they are not of a run of each side.
    """
    if directory is None:
        return None
    record = read_step_times(directory)
    for name, measured, runs in zip(
        ("baseline", "candidate"), (record.baseline, record.candidate), sides, strict=True
    ):
        _check_measured_run(directory, name, measured, runs)
    baseline, candidate = record.seconds
    rounds = Rounds(
        baseline_run=str(record.baseline),
        candidate_run=str(record.candidate),
        devices=record.measured_on,
        steps=record.steps_per_round,
        baseline_seconds=baseline,
        candidate_seconds=candidate,
    )
    return speed_up.step_times(rounds, comparison.log_speedup)


def _check_measured_run(
    directory: Place, side: str, measured: MeasuredRun, runs: Sequence[FinishedRun]
) -> None:
    known = {digest_of_contents(run.directory / RECIPE) for run in runs}
    if measured.recipe_sha256 not in known:
        raise ArtifactError(
            f"The step times in {directory} have {measured.run}, {measured.name}, as the "
            f"{side}, which is not a --{side} of this report; measure runs that it compares with "
            "`mswitch time`, or leave --step-times out."
        )


def check_text(corpus: str | None, tokens: str | None, runs: Sequence[FinishedRun]) -> None:
    """Checks that runs were trained on these tokens, and that the tokens are this corpus.

    Args:
        corpus: directory that `mswitch clean` wrote, or None.
        tokens: directory that `mswitch tokenize` wrote, or None.
        runs: runs of the candidate; imported ones have no tokens and are not checked.

    Raises:
        ArtifactError: if either differs, or a corpus is given without tokens.
    """
    if tokens is not None:
        _check_tokens(tokens, runs)
    if corpus is not None:
        _check_corpus(corpus, tokens)


def _check_tokens(tokens: str, runs: Sequence[FinishedRun]) -> None:
    read = {_last_tokens(run) for run in runs} - {None}
    if read and artifacts.digest_of_manifest(tokens) not in read:
        raise ArtifactError(
            f"{tokens} are not the tokens that {runs[0].directory} was trained on, or not its last "
            "ones; name those with --tokens, or omit --tokens and --corpus."
        )


def _last_tokens(run: FinishedRun) -> str | None:
    """Returns the digest of the tokens that a run read at its end; None if it is not recorded."""
    inputs = run.about.inputs
    later = [int(name.removeprefix(LATER)) for name in inputs if name.startswith(LATER)]
    return inputs.get(f"{LATER}{max(later)}" if later else "tokens")


def _check_corpus(corpus: str, tokens: str | None) -> None:
    if tokens is None:
        raise ArtifactError(
            f"Only the tokens show whether {corpus} is the corpus of these runs; name them with "
            "--tokens."
        )
    inputs = artifacts.read_manifest(tokens, artifacts.TOKENS.stages, artifacts.Head).inputs
    corpora = {digest for name, digest in inputs.items() if name.startswith("corpus_")}
    if len(corpora) > 1:
        raise ArtifactError(
            f"{tokens} were made from {len(corpora)} corpora, and {corpus} is not all of it; omit "
            "--corpus."
        )
    if corpora != {artifacts.digest_of_manifest(corpus)}:
        raise ArtifactError(
            f"{tokens} were made from another corpus than {corpus}, or from this one before it was "
            "changed; name that one, or omit --corpus."
        )


def training_text(
    tokens: str | None, runs: Sequence[FinishedRun]
) -> tuple[dict[str, TrainingText], str]:
    """Returns the training text per language, and the definition of its `tokens`.

    Args:
        tokens: directory that `mswitch tokenize` wrote; None counts the tokens that the runs read.
        runs: runs of the candidate.
    """
    seen = {
        code: fmean([run.tokens_seen.get(code, 0.0) for run in runs])
        for code in {code for run in runs for code in run.tokens_seen}
    }
    if tokens is None:
        text = {code: TrainingText(tokens=n, tokens_seen=n) for code, n in seen.items()}
        return text, "training tokens seen, repeats counted"
    languages = artifacts.read_manifest(tokens, artifacts.TOKENS.stages, TokenManifest).languages
    text = {
        code: _distinct_text(splits["train"], seen.get(code))
        for code, splits in languages.items()
        if "train" in splits
    }
    return text, "distinct training tokens"


def _distinct_text(train: SplitTokens, seen: float | None) -> TrainingText:
    count = train.tokens
    return TrainingText(
        tokens=float(count),
        tokens_seen=seen,
        bytes_per_token=train.text_bytes / count if count else None,
        tokens_per_page=count / train.pages if train.pages else None,
        unknown_share=train.unknown_tokens / count if count else None,
        byte_fallback_share=train.byte_tokens / count if count else None,
    )


def bill(baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]) -> Bill | None:
    """Returns the cost of a candidate's run, or None if its runs were not upcycled.

    Args:
        baseline: runs of the baseline, of one length.
        candidate: runs of the candidate, of one length.

    Raises:
        ArtifactError: if runs of the candidate began in different ways.
    """
    ways = {beginning(run.about.upcycled): run for run in candidate}
    if len(ways) > 1:
        raise ArtifactError(
            "Runs of one side began in different ways ("
            f"{'; '.join(f'{run.directory}: {way}' for way, run in ways.items())}); name runs that "
            "were upcycled alike."
        )
    dense = candidate[0].about.upcycled
    if dense is None:
        return None
    own = candidate[0].last_step - dense.begins_at
    return Bill(
        recipe=dense.recipe,
        dense_steps=dense.step,
        dense_flops=dense.flops,
        own_steps=own,
        own_flops=training_flops(candidate[0], own),
        baseline_steps=baseline[0].last_step,
        baseline_flops=training_flops(baseline[0], baseline[0].last_step),
    )


def training_flops(run: FinishedRun, steps: int) -> int | None:
    """Returns the training FLOPs of steps of a run; None if not recorded."""
    forward = run.about.flops_per_sequence
    return None if forward is None else 3 * forward * run.recipe["rows"] * steps


def read_shared_lines(corpus: str) -> dict[str, SharedLines] | None:
    """Returns the shared lines per language; None for a corpus above `MOST_CHARACTERS`.

    Pages of undetermined language ("und") are on neither side.

    Raises:
        ArtifactError: if the directory is not a finished corpus.
    """
    entries = read_corpus(corpus).languages
    codes = [code for code in entries if code != UNDETERMINED]
    if sum(entries[code].characters for code in codes) > MOST_CHARACTERS:
        return None
    held_out = {code: list(_texts(corpus, code, "validation")) for code in codes}
    return shared_lines(
        held_out, (text for code in codes for text in _texts(corpus, code, "train"))
    )


def _texts(corpus: str, code: str, split: str) -> Iterator[str]:
    for file in page_files([corpus], code, split):
        with checked_copy(file.path, file.digest) as here:
            yield from page_texts(here)
