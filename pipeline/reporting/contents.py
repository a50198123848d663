"""The contents of a report, from finished runs, a corpus and tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from data.files.parquet_files import read_table
from data.languages import get
from eval import distillation
from eval.distillation import Student
from eval.experts import SCHEMA, ExpertSharing, expert_sharing
from eval.gains import Comparison
from eval.groups import Group, Pruning
from eval.report.contents import ReportContents, Written
from eval.sides import Side, common_unit
from eval.tasks.comparison import SentenceComparison, TaskComparison
from pipeline import artifacts
from pipeline.artifacts import source_commit
from pipeline.corpus.pages import read_funnel
from pipeline.errors import ArtifactError
from pipeline.reporting import sides
from pipeline.reporting.facts import (
    bill,
    check_text,
    measured_step_times,
    network,
    network_names,
    read_shared_lines,
    run_facts,
    side_names,
    training_text,
)
from pipeline.reporting.sources import Sources
from pipeline.reporting.tasks import task_comparisons, task_differences
from pipeline.runs import finished
from pipeline.runs.directory import RecordedPruning
from pipeline.runs.finished import FinishedRun
from pipeline.runs.tasks import (
    FinetunedRun,
    read_finetuned,
    sentence_comparisons,
    sentence_files,
)


def contents(sources: Sources, *, differences_allowed: bool) -> ReportContents:
    """Returns the report.

    Args:
        sources: what is compared.
        differences_allowed: whether runs may differ beyond the feed-forward.

    Raises:
        ArtifactError: if the runs cannot be compared.
    """
    # The verdict is of the network that is named first on each side.
    of_sides = opponents, ours = [
        sides.networks([finished.read_run(directory) for directory in directories])
        for directories in (sources.baseline, sources.candidate)
    ]
    both = baseline, candidate = opponents[0], ours[0]
    differences = sides.differences(baseline, candidate, allowed=differences_allowed)
    finetuned = [
        [read_finetuned(directory) for directory in directories]
        for directories in (sources.baseline_tasks, sources.candidate_tasks)
    ]
    of_tasks = task_differences(*finetuned, allowed=differences_allowed)
    check_text(sources.corpus, sources.tokens, candidate)
    students = [finished.read_run(directory) for directory in sources.student]
    longest = [sides.longest(runs) for runs in both]
    sides.check_students(
        students, longest[0][0], longest[1], differences_allowed=differences_allowed
    )
    kinds = side_names(baseline[0], candidate[0])
    names = [network_names(*side) for side in zip(kinds, of_sides, strict=True)]
    first, second = (_group(name[0], runs) for name, runs in zip(names, both, strict=True))
    second = replace(second, differences=differences, bill=bill(*longest))
    _check_languages(second.side)
    further = _further(sources, baseline, longest, differences_allowed=differences_allowed)
    groups = first, second, *further
    more = zip(names[0][1:], opponents[1:], strict=True)
    others = [
        _opponent(name, runs, candidate, second.side, differences_allowed=differences_allowed)
        for name, runs in more
    ]
    for name, runs in zip(names[1][1:], ours[1:], strict=True):
        # They are points of a picture only, and are checked like those that are compared.
        _opponent(name, runs, candidate, second.side, differences_allowed=differences_allowed)
    sides.check_names([group.side for group in (*groups, *(group for group, _ in others))])
    text, training_tokens_are = training_text(sources.tokens, longest[1])
    comparisons = [_comparison(first.side, group.side) for group in groups[1:]]
    comparisons[0] = replace(comparisons[0], text=text)
    return ReportContents(
        groups=groups,
        comparisons=tuple(comparisons),
        opponents=tuple(others),
        networks=tuple(
            tuple(network(name, kind, runs) for name, runs in zip(*side, strict=True))
            for kind, *side in zip(kinds, names, of_sides, strict=True)
        ),
        funnel=None if sources.corpus is None else read_funnel(sources.corpus),
        shared_lines=None if sources.corpus is None else read_shared_lines(sources.corpus),
        experts=_experts(second.name, longest[1]),
        students=_students(first.side, second.side, candidate[0], students),
        training_tokens_are=training_tokens_are,
        written=_written(sources),
        task_differences=of_tasks,
        tasks=_tasks(finetuned, both),
        sentences=_sentences(longest),
        step_times=measured_step_times(sources.step_times, comparisons[0], both),
    )


def _comparison(baseline: Side, candidate: Side) -> Comparison:
    return Comparison(baseline=baseline, candidate=candidate, unit=common_unit(baseline, candidate))


def _group(name: str, runs: Sequence[FinishedRun]) -> Group:
    side = sides.side(name, runs)
    facts = run_facts(side, sides.longest(runs), runs)
    return Group(side=side, facts=facts, directories=tuple(str(run.directory) for run in runs))


def _opponent(
    name: str,
    runs: Sequence[FinishedRun],
    candidate: Sequence[FinishedRun],
    side: Side,
    *,
    differences_allowed: bool,
) -> tuple[Group, Comparison]:
    """Returns a further network of the baseline, and the candidate compared with it.

    Args:
        name: name of the network.
        runs: its runs.
        candidate: runs of the candidate.
        side: losses of the candidate.
        differences_allowed: whether runs may differ beyond the feed-forward.
    """
    ours, theirs = sides.of_common_lengths(candidate, runs)
    differences = sides.differences(theirs, ours, allowed=differences_allowed)
    sides.side(name, runs)  # also of lengths that the candidate lacks
    group = replace(_group(name, theirs), differences=differences)
    compared = side if len(ours) == len(candidate) else sides.side(side.name, ours)
    return group, _comparison(group.side, compared)


def _check_languages(side: Side) -> None:
    if all(get(code).is_script_variant for code in side.languages):
        raise ArtifactError(
            f"The runs were evaluated on {', '.join(side.languages)} alone, Latin-script "
            "variants that no mean counts; evaluate them on tokens of other languages too."
        )


def _written(sources: Sources) -> Written:
    return Written(
        date=datetime.now(UTC).date().isoformat(),
        code_version=artifacts.code_version(),
        commit=source_commit(),
        baseline=tuple(map(str, sources.baseline)),
        candidate=tuple(map(str, sources.candidate)),
        students=tuple(map(str, sources.student)),
        also=sources.also,
        tasks=tuple(map(str, (*sources.baseline_tasks, *sources.candidate_tasks))),
        corpus=sources.corpus,
        tokens=sources.tokens,
        step_times=None if sources.step_times is None else str(sources.step_times),
    )


def _further(
    sources: Sources,
    baseline: Sequence[FinishedRun],
    longest: Sequence[Sequence[FinishedRun]],
    *,
    differences_allowed: bool,
) -> Iterator[Group]:
    """Yields the models of --also; `longest` are both sides' runs of greatest length."""
    for name, directories in sources.models.items():
        runs = [finished.read_run(directory) for directory in directories]
        # Students and pruned runs exist at the greatest length only.
        compared = longest[0] if len(sides.lengths(runs)) == 1 else baseline
        differences = sides.differences(compared, runs, allowed=differences_allowed)
        yield replace(
            _group(name, runs),
            differences=differences,
            pruning=_pruning(name, runs, longest[1]),
            bill=bill(longest[0], sides.longest(runs)),
        )


def _pruning(
    name: str, runs: Sequence[FinishedRun], candidate: Sequence[FinishedRun]
) -> Pruning | None:
    """Returns how the runs of a model were pruned; None if they were not.

    Args:
        name: name of the model.
        runs: its runs.
        candidate: the candidate's runs of greatest length.

    Raises:
        ArtifactError: if some were pruned otherwise than others.
    """
    kinds = {_kind(run.about.pruned): run for run in runs}
    if len(kinds) > 1:
        raise ArtifactError(
            f"Runs of {name} were pruned in different ways ("
            f"{'; '.join(f'{run.directory}: {kind}' for kind, run in kinds.items())}); name each "
            "of these in a --also of its own."
        )
    record = runs[0].about.pruned
    if record is None:
        return None
    digests = _digests(candidate)
    sources = [_source(run, candidate, digests) for run in runs]
    known = [source for source in sources if source is not None]
    whole = tuple(known) if len(known) == len(runs) else ()
    return Pruning(record.languages, record.experts, record.others, whole)


def _kind(record: RecordedPruning | None) -> str:
    if record is None:
        return "not pruned"
    return f"for {', '.join(record.languages)}, of {record.experts} experts, {record.others}"


def _source(
    run: FinishedRun, candidate: Sequence[FinishedRun], digests: Sequence[str]
) -> int | None:
    """Returns the number of the candidate's run that a run was pruned from; None if of others.

    Old records do not say from which run, and published runs have no manifest: the seed tells.
    """
    record = run.about.pruned
    assert record is not None  # it was pruned
    if record.run and len(digests) == len(candidate):
        return digests.index(record.run) if record.run in digests else None
    seeds = [source.recipe["seed"] for source in candidate]
    seed = run.recipe["seed"]
    return seeds.index(seed) if seed in seeds else None


def _tasks(
    finetuned: Sequence[Sequence[FinetunedRun]], both: Sequence[Sequence[FinishedRun]]
) -> tuple[TaskComparison, ...]:
    """Returns the scores of both sides' fine-tuned runs; none without any."""
    if not finetuned[0]:
        return ()
    baseline, candidate = map(_digests, both)
    return task_comparisons(finetuned[0], finetuned[1], (baseline, candidate))


def _digests(runs: Sequence[FinishedRun]) -> list[str]:
    """Returns the digests of finished runs, by which other runs name what they began as."""
    finished_runs = [run.directory for run in runs if artifacts.is_finished(run.directory)]
    return [artifacts.digest_of_manifest(directory) for directory in finished_runs]


def _sentences(longest: Sequence[Sequence[FinishedRun]]) -> tuple[SentenceComparison, ...]:
    """Returns the nats per sentence of texts that all runs of greatest length were scored on."""
    baseline, candidate = (
        [sentence_files(run.directory, run.last_step) for run in runs] for runs in longest
    )
    return sentence_comparisons(baseline, candidate)


def _students(
    baseline: Side, teacher: Side, teacher_run: FinishedRun, runs: Sequence[FinishedRun]
) -> tuple[Student, ...]:
    """Returns one student per recipe, in the order of the runs."""
    by_recipe: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_recipe.setdefault(run.recipe["name"], []).append(run)
    return tuple(
        distillation.compare_student(
            baseline,
            teacher,
            sides.side(name, of_recipe),
            parameters=of_recipe[0].about.parameters,
            teacher_parameters=teacher_run.about.parameters,
        )
        for name, of_recipe in by_recipe.items()
    )


def _experts(name: str, runs: Sequence[FinishedRun]) -> ExpertSharing | None:
    """Returns the expert use per language of the first run that recorded it."""
    for run in runs:
        if path := finished.last_routing(run.directory):
            return expert_sharing(
                read_table(path, SCHEMA),
                run=f"{name}, seed {run.recipe['seed']}",
                step=run.last_step,
                origin=str(path),
            )
    return None
