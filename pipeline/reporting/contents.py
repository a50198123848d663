"""The contents of a report, from finished runs, a corpus and tokens."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from data.files.parquet_files import read_table
from data.languages import get
from eval import distillation, null_comparison
from eval.distillation import Student
from eval.experts import SCHEMA, ExpertSharing, expert_sharing
from eval.further_models import FurtherModel, Pruning, further_model
from eval.gains import language_gains, summarise
from eval.report.contents import ReportContents, Written
from eval.sides import Difference, Side, common_unit
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
    baseline, candidate = (
        [finished.read_run(directory) for directory in directories]
        for directories in (sources.baseline, sources.candidate)
    )
    differences = sides.differences(baseline, candidate, allowed=differences_allowed)
    finetuned = [
        [read_finetuned(directory) for directory in directories]
        for directories in (sources.baseline_tasks, sources.candidate_tasks)
    ]
    differences += task_differences(*finetuned, allowed=differences_allowed)
    check_text(sources.corpus, sources.tokens, candidate)
    students = [finished.read_run(directory) for directory in sources.student]
    sides.check_students(
        students,
        sides.longest(baseline)[0],
        sides.longest(candidate),
        differences_allowed=differences_allowed,
    )
    report = _report(sources, baseline, candidate, students, differences)
    report = replace(
        report,
        step_times=measured_step_times(sources.step_times, report, (baseline, candidate)),
        further=_further_models(
            sources,
            report.baseline,
            baseline,
            candidate,
            differences_allowed=differences_allowed,
        ),
        tasks=_tasks(finetuned, (baseline, candidate)),
        sentences=_sentences(baseline, candidate),
    )
    sides.check_names(report.models)
    return report


def _report(
    sources: Sources,
    baseline: Sequence[FinishedRun],
    candidate: Sequence[FinishedRun],
    students: Sequence[FinishedRun],
    differences: tuple[Difference, ...],
) -> ReportContents:
    names = side_names(baseline[0], candidate[0])
    dense, sparse = sides.side(names[0], baseline), sides.side(names[1], candidate)
    if all(get(code).is_script_variant for code in sparse.languages):
        raise ArtifactError(
            f"The runs were evaluated on {', '.join(sparse.languages)} alone, Latin-script "
            "variants that no mean counts; evaluate them on tokens of other languages too."
        )
    longest = sides.longest(baseline), sides.longest(candidate)
    facts = run_facts(dense, longest[0], baseline), run_facts(sparse, longest[1], candidate)
    text, training_tokens_are = training_text(sources.tokens, longest[1])
    unit = common_unit(dense, sparse)
    gains = language_gains(dense, sparse, text)
    return ReportContents(
        baseline=dense,
        candidate=sparse,
        facts=facts,
        summary=summarise(gains, dense, sparse),
        gains=gains,
        funnel=None if sources.corpus is None else read_funnel(sources.corpus),
        shared_lines=None if sources.corpus is None else read_shared_lines(sources.corpus),
        experts=_experts(sparse.name, longest[1]),
        differences=differences,
        students=_students(dense, sparse, candidate[0], students),
        nulls=tuple(
            null
            for side, fact in zip((dense, sparse), facts, strict=True)
            for null in null_comparison.null_comparisons(side, fact.seeds, unit)
        ),
        training_tokens_are=training_tokens_are,
        written=_written(sources),
        bill=bill(*longest),
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


def _further_models(
    sources: Sources,
    baseline: Side,
    baseline_runs: Sequence[FinishedRun],
    candidate_runs: Sequence[FinishedRun],
    *,
    differences_allowed: bool,
) -> tuple[FurtherModel, ...]:
    """Returns the models of --also, each compared with the baseline."""
    models = []
    for name, directories in sources.models.items():
        runs = [finished.read_run(directory) for directory in directories]
        # Students and pruned runs exist at the greatest length only.
        one_length = len(sides.lengths(runs)) == 1
        compared = sides.longest(baseline_runs) if one_length else baseline_runs
        differences = sides.differences(compared, runs, allowed=differences_allowed)
        side = sides.side(name, runs)
        models.append(
            further_model(
                baseline,
                side,
                facts=run_facts(side, sides.longest(runs), runs),
                differences=differences,
                directories=tuple(map(str, directories)),
                pruning=_pruning(name, runs, sides.longest(candidate_runs)),
                bill=bill(sides.longest(baseline_runs), sides.longest(runs)),
            )
        )
    return tuple(models)


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
    finetuned: Sequence[Sequence[FinetunedRun]], sides: Sequence[Sequence[FinishedRun]]
) -> tuple[TaskComparison, ...]:
    """Returns the scores of both sides' fine-tuned runs; none without any."""
    if not finetuned[0]:
        return ()
    baseline, candidate = map(_digests, sides)
    return task_comparisons(finetuned[0], finetuned[1], (baseline, candidate))


def _digests(runs: Sequence[FinishedRun]) -> list[str]:
    """Returns the digests of finished runs, by which other runs name what they began as."""
    finished_runs = [run.directory for run in runs if artifacts.is_finished(run.directory)]
    return [artifacts.digest_of_manifest(directory) for directory in finished_runs]


def _sentences(
    baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]
) -> tuple[SentenceComparison, ...]:
    """Returns the nats per sentence of texts that all runs of greatest length were scored on."""
    files = [
        [sentence_files(run.directory, run.last_step) for run in sides.longest(runs)]
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
        distillation.compare_student(
            baseline,
            teacher,
            sides.side(name, of_recipe),
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
            return expert_sharing(
                read_table(path, SCHEMA),
                run=f"{name}, seed {run.recipe['seed']}",
                step=run.last_step,
                origin=str(path),
            )
    return None
