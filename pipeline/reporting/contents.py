"""The contents of a report, from finished runs, a corpus and tokens."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from data.files.parquet_files import read_table
from data.languages import get
from eval import distillation, null_comparison
from eval import further_models as further
from eval.distillation import Student
from eval.experts import SCHEMA, ExpertSharing, from_table
from eval.further_models import Further, Pruning
from eval.gains import language_gains, summarise
from eval.report.contents import ReportContents, Written
from eval.sides import Difference, Side, unit_of
from eval.tasks.comparison import SentenceComparison, TaskComparison
from pipeline import artifacts
from pipeline.arguments import Report
from pipeline.artifacts import source_commit
from pipeline.corpus.pages import read_funnel
from pipeline.errors import ArtifactError
from pipeline.reporting import sides
from pipeline.reporting import sides as sides_of_runs
from pipeline.reporting.facts import (
    bill,
    check_text,
    facts_of,
    names_of,
    read_shared_lines,
    step_times_of,
    training_text,
)
from pipeline.reporting.sides import check_students
from pipeline.reporting.tasks import task_comparisons
from pipeline.runs import finished
from pipeline.runs.finished import FinishedRun
from pipeline.runs.tasks import sentence_comparisons, sentence_files


def contents(arguments: Report) -> ReportContents:
    """Returns the report.

    Raises:
        ArtifactError: if the runs cannot be compared.
    """
    baseline, candidate = (
        [finished.read_run(directory) for directory in directories]
        for directories in (arguments.baseline, arguments.candidate)
    )
    differences = sides.differences(baseline, candidate, allowed=arguments.allow_differences)
    check_text(arguments.corpus, arguments.tokens, candidate)
    students = [finished.read_run(directory) for directory in arguments.student]
    check_students(
        students,
        sides_of_runs.longest(baseline)[0],
        sides_of_runs.longest(candidate),
        differences_allowed=arguments.allow_differences,
    )
    report = _report(arguments, baseline, candidate, students, differences)
    report = replace(
        report,
        step_times=step_times_of(arguments.step_times, report, (baseline, candidate)),
        further=_further(arguments, report.baseline, baseline, candidate),
        tasks=_tasks(arguments, baseline, candidate),
        sentences=_sentences(baseline, candidate),
    )
    sides.check_names(report.models)
    return report


def _report(
    arguments: Report,
    baseline: Sequence[FinishedRun],
    candidate: Sequence[FinishedRun],
    students: Sequence[FinishedRun],
    differences: tuple[Difference, ...],
) -> ReportContents:
    names = names_of(baseline[0], candidate[0])
    sides = [
        sides_of_runs.side(name, runs)
        for name, runs in zip(names, (baseline, candidate), strict=True)
    ]
    if all(get(code).is_script_variant for code in sides[1].languages):
        raise ArtifactError(
            f"The runs were evaluated on {', '.join(sides[1].languages)} alone, Latin-script "
            "variants that no mean counts; evaluate them on tokens of other languages too."
        )
    longest = [sides_of_runs.longest(runs) for runs in (baseline, candidate)]
    facts = [
        facts_of(one, last, every)
        for one, last, every in zip(sides, longest, (baseline, candidate), strict=True)
    ]
    text, training_tokens_are = training_text(arguments.tokens, longest[1])
    unit = unit_of(sides[0], sides[1])
    gains = language_gains(sides[0], sides[1], text)
    return ReportContents(
        baseline=sides[0],
        candidate=sides[1],
        facts=(facts[0], facts[1]),
        summary=summarise(gains, sides[0], sides[1]),
        gains=gains,
        funnel=None if arguments.corpus is None else read_funnel(arguments.corpus),
        shared_lines=None if arguments.corpus is None else read_shared_lines(arguments.corpus),
        experts=_experts(sides[1].name, longest[1]),
        differences=differences,
        students=_students(sides[0], sides[1], candidate[0], students),
        nulls=tuple(
            null
            for one, fact in zip(sides, facts, strict=True)
            for null in null_comparison.null_comparisons(one, fact.seeds, unit)
        ),
        training_tokens_are=training_tokens_are,
        written=_written(arguments),
        bill=bill(*longest),
    )


def _written(arguments: Report) -> Written:
    return Written(
        date=datetime.now(UTC).date().isoformat(),
        code_version=artifacts.code_version(),
        commit=source_commit(),
        baseline=tuple(map(str, arguments.baseline)),
        candidate=tuple(map(str, arguments.candidate)),
        students=tuple(map(str, arguments.student)),
        also=arguments.also,
        tasks=tuple(map(str, (*arguments.baseline_tasks, *arguments.candidate_tasks))),
        corpus=arguments.corpus,
        tokens=arguments.tokens,
        step_times=None if arguments.step_times is None else str(arguments.step_times),
    )


def _further(
    arguments: Report,
    baseline: Side,
    baseline_runs: Sequence[FinishedRun],
    candidate_runs: Sequence[FinishedRun],
) -> tuple[Further, ...]:
    """Returns the models of --also, each compared with the baseline."""
    found = []
    for name, directories in sides.named(arguments.also).items():
        runs = [finished.read_run(directory) for directory in directories]
        # Students and pruned runs exist at the greatest length only.
        one_length = len(sides_of_runs.lengths(runs)) == 1
        compared = sides_of_runs.longest(baseline_runs) if one_length else baseline_runs
        differences = sides.differences(compared, runs, allowed=arguments.allow_differences)
        one = sides_of_runs.side(name, runs)
        found.append(
            further.further(
                baseline,
                one,
                facts=facts_of(one, sides_of_runs.longest(runs), runs),
                differences=differences,
                directories=tuple(map(str, directories)),
                pruning=_pruning(runs, candidate_runs),
            )
        )
    return tuple(found)


def _pruning(runs: Sequence[FinishedRun], candidate_runs: Sequence[FinishedRun]) -> Pruning | None:
    """Returns how runs were pruned; None if they were not.

    Old records do not say from which run, and published runs without manifests cannot be told.
    """
    every = [run.about.pruned for run in runs if run.about.pruned is not None]
    if not every:
        return None
    known = _digests(candidate_runs)
    ours = len(known) < len(candidate_runs) or all(not one.run or one.run in known for one in every)
    return Pruning(every[0].languages, every[0].experts, every[0].others, ours)


def _tasks(
    arguments: Report, baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]
) -> tuple[TaskComparison, ...]:
    """Returns the scores of the fine-tuned runs; none without any."""
    if not arguments.baseline_tasks:
        return ()
    return task_comparisons(
        arguments.baseline_tasks,
        arguments.candidate_tasks,
        (_digests(baseline), _digests(candidate)),
    )


def _digests(runs: Sequence[FinishedRun]) -> list[str]:
    """Returns what fine-tuned runs recorded of the runs that they began as: finished ones."""
    there = [run.directory for run in runs if artifacts.is_finished(run.directory)]
    return [artifacts.digest_of_manifest(directory) for directory in there]


def _sentences(
    baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]
) -> tuple[SentenceComparison, ...]:
    """Returns the nats per sentence of texts that all runs of greatest length were scored on."""
    files = [
        [sentence_files(run.directory, run.last_step) for run in sides_of_runs.longest(runs)]
        for runs in (baseline, candidate)
    ]
    return sentence_comparisons(*files)


def _students(
    baseline: Side, teacher: Side, teacher_run: FinishedRun, runs: Sequence[FinishedRun]
) -> tuple[Student, ...]:
    """Returns one student per recipe, in the order of the runs."""
    by_recipe: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_recipe.setdefault(run.recipe["name"], []).append(run)
    return tuple(
        distillation.student(
            baseline,
            teacher,
            sides_of_runs.side(name, of_recipe),
            seeds=tuple(run.recipe["seed"] for run in of_recipe),
            parameters=of_recipe[0].about.parameters,
            teacher_parameters=teacher_run.about.parameters,
        )
        for name, of_recipe in by_recipe.items()
    )


def _experts(name: str, runs: Sequence[FinishedRun]) -> ExpertSharing | None:
    """Returns the expert use per language of the first run that recorded it."""
    for run in runs:
        if path := finished.last_routing(run.directory):
            return from_table(
                read_table(path, SCHEMA),
                run=f"{name}, seed {run.recipe['seed']}",
                step=run.last_step,
                origin=str(path),
            )
    return None
