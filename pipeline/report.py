"""`mswitch report`: compares finished runs and writes JSON, Markdown and one HTML file.

A report is derived from its inputs in seconds. A finished one on the same inputs is not written
again, and one on other inputs is refused, as by every stage. Runs, corpus and tokens are only read.
`manifest.json` holds the digests of everything that was read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from data.stores.addresses import Place
from data.stores.atomic import write_text
from data.stores.digests import digest_of_contents
from data.stores.files import exists, join_path, read_bytes
from data.stores.json_files import write_json
from data.stores.parquet_files import read_table
from eval import comparison, distillation, further, side
from eval.cautions import cautions
from eval.distillation import Student
from eval.experts import sharing as expert_sharing
from eval.experts.sharing import ExpertSharing
from eval.further import Further, Pruning
from eval.language_loss import Unit
from eval.rendering.html import to_html
from eval.rendering.markdown import to_markdown
from eval.rendering.report_json import to_json
from eval.report import ReportContents, Written
from eval.run_facts import Difference, RunFacts
from eval.side import Side
from eval.statistics import null_comparison
from eval.tasks.compared import TaskComparison
from eval.tasks.sentences import SentenceComparison
from eval.verdict import sentences
from pipeline.arguments import Report
from pipeline.artifacts import claims
from pipeline.artifacts.claims import MANIFEST
from pipeline.artifacts.intent import (
    Identity,
    Intent,
    Reading,
    claim,
    files_of,
    finish,
    look,
)
from pipeline.artifacts.output_lock import output_lock
from pipeline.artifacts.source_commit import source_commit
from pipeline.corpus.funnel import read_funnel
from pipeline.corpus.held_out_lines import read_shared_lines
from pipeline.corpus.manifests import corpus_stage
from pipeline.errors import ArtifactError
from pipeline.runs import (
    comparable,
    finetuned_runs,
    finished,
    further_models,
    sides_of_runs,
    upcycled_runs,
)
from pipeline.runs.finished import FinishedRun
from pipeline.runs.sentence_files import sentence_comparisons, sentence_files
from pipeline.runs.sides_of_tasks import task_comparisons
from pipeline.runs.training_text import check_text, training_text
from pipeline.terminal import Terminal, print_lines

STAGE = "report"
TASKS = ("baseline_tasks", "candidate_tasks")


def run(arguments: Report) -> None:
    """Writes `report.json`, `report.md` and `index.html`; prints the sentence and the path."""
    intent = _intent(arguments)
    if _is_finished(intent):
        print_lines(f"report: {arguments.out / 'index.html'} is finished.")
        return
    report = _contents(arguments)
    with output_lock(arguments.out, STAGE):
        _check_same_inputs(intent)
        claim(intent)
        write_json(arguments.out / "report.json", to_json(report))
        write_text(arguments.out / "report.md", to_markdown(report))
        write_text(arguments.out / "index.html", to_html(report))
        finish(intent, {"sentence": sentences(report)})
    lines = [sentences(report), *filter(None, [report.null_sentence, report.bill_sentence])]
    lines += [f"- {caution}" for caution in cautions(report)]
    for line in (*lines, f"The report is in {arguments.out / 'index.html'}"):
        Terminal().print(line, highlight=False)


def intents(arguments: Report) -> list[Intent]:
    """Returns what the command would do; the runs are compared for it."""
    intent = _intent(arguments)
    if _is_finished(intent):
        return [intent]
    _contents(arguments)
    _check_same_inputs(intent)
    look(intent)
    return [replace(intent, identity=None)]  # one of another version is written again


def _intent(arguments: Report) -> Intent:
    """Returns what a report of other inputs than those there would be.

    Raises:
        ArtifactError: if a run is named twice, or is none.
    """
    _check_named_once(arguments)
    also = [one for runs in further_models.named(arguments.also).values() for one in runs]
    runs = (*arguments.baseline, *arguments.candidate, *arguments.student, *also)
    reads = [files_of("run", run, finished.files_read(run).values()) for run in runs]
    tuned = (*arguments.baseline_tasks, *arguments.candidate_tasks)
    reads += [files_of("run", run, finetuned_runs.files_read(run).values()) for run in tuned]
    reads += [
        Reading(f"manifest of {name}", place, 1, len(read_bytes(join_path(place, MANIFEST))))
        for name, place in (("corpus", arguments.corpus), ("tokens", arguments.tokens))
        if place is not None and exists(join_path(place, MANIFEST))
    ]
    return Intent(
        stage=STAGE,
        reads=reads,
        writes="report.json, report.md and index.html",
        out=arguments.out,
        identity=Identity({}, _digests(arguments)),
        work=f"{len(runs) + len(tuned)} runs, each page and language of their evaluations",
    )


def _contents(arguments: Report) -> ReportContents:
    """Returns the report.

    Raises:
        ArtifactError: if the runs cannot be compared.
    """
    baseline, candidate = (
        [finished.read_run(directory) for directory in directories]
        for directories in (arguments.baseline, arguments.candidate)
    )
    differences = comparable.differences(baseline, candidate, allowed=arguments.allow_differences)
    check_text(arguments.corpus, arguments.tokens, candidate)
    students = [finished.read_run(directory) for directory in arguments.student]
    comparable.check_students(
        students, baseline[0], candidate, differences_allowed=arguments.allow_differences
    )
    report = _report(arguments, baseline, candidate, students, differences)
    report = replace(
        report,
        further=_further(arguments, report.baseline, baseline),
        tasks=_tasks(arguments, baseline, candidate),
        sentences=_sentences(baseline, candidate),
    )
    further_models.check_names(report.models)
    return report


def _report(
    arguments: Report,
    baseline: Sequence[FinishedRun],
    candidate: Sequence[FinishedRun],
    students: Sequence[FinishedRun],
    differences: tuple[Difference, ...],
) -> ReportContents:
    names = _names(baseline[0], candidate[0])
    sides = [
        sides_of_runs.side(name, runs)
        for name, runs in zip(names, (baseline, candidate), strict=True)
    ]
    longest = [sides_of_runs.longest(runs) for runs in (baseline, candidate)]
    facts = [_facts(one, runs) for one, runs in zip(sides, longest, strict=True)]
    text, training_tokens_are = training_text(arguments.tokens, candidate)
    gains = comparison.language_gains(sides[0], sides[1], text)
    return ReportContents(
        baseline=sides[0],
        candidate=sides[1],
        facts=(facts[0], facts[1]),
        summary=comparison.summarise(gains, sides[0], sides[1]),
        gains=gains,
        funnel=None if arguments.corpus is None else read_funnel(arguments.corpus),
        shared_lines=None if arguments.corpus is None else read_shared_lines(arguments.corpus),
        experts=_experts(sides[1].name, longest[1]),
        differences=differences,
        students=_students(sides[0], sides[1], candidate[0], students),
        nulls=tuple(
            null
            for one, fact in zip(sides, facts, strict=True)
            for null in null_comparison.null_comparisons(one, fact.seeds)
        ),
        training_tokens_are=training_tokens_are,
        written=_written(arguments),
        bill=upcycled_runs.bill(*longest),
    )


def _written(arguments: Report) -> Written:
    return Written(
        date=datetime.now(UTC).date().isoformat(),
        code_version=claims.code_version(),
        commit=source_commit(),
        baseline=tuple(map(str, arguments.baseline)),
        candidate=tuple(map(str, arguments.candidate)),
        students=tuple(map(str, arguments.student)),
        also=arguments.also,
        tasks=tuple(map(str, (*arguments.baseline_tasks, *arguments.candidate_tasks))),
        corpus=arguments.corpus,
        tokens=arguments.tokens,
    )


def _further(
    arguments: Report, baseline: Side, baseline_runs: Sequence[FinishedRun]
) -> tuple[Further, ...]:
    """Returns the models of --also, each compared with the baseline."""
    found = []
    for name, directories in further_models.named(arguments.also).items():
        runs = [finished.read_run(directory) for directory in directories]
        differences = comparable.differences(
            baseline_runs, runs, allowed=arguments.allow_differences
        )
        one = sides_of_runs.side(name, runs)
        pruned = runs[0].about.pruned
        found.append(
            further.further(
                baseline,
                one,
                facts=_facts(one, sides_of_runs.longest(runs)),
                differences=differences,
                directories=tuple(map(str, directories)),
                pruning=pruned and Pruning(pruned.languages, pruned.experts),
            )
        )
    return tuple(found)


def _tasks(
    arguments: Report, baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]
) -> tuple[TaskComparison, ...]:
    """Returns the scores of the fine-tuned runs."""
    return task_comparisons(
        arguments.baseline_tasks,
        arguments.candidate_tasks,
        (baseline[0].experts, candidate[0].experts),
    )


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
        if path := finished.routing_file(run.directory):
            return expert_sharing.from_table(
                read_table(path, expert_sharing.SCHEMA),
                run=f"{name}, seed {run.recipe['seed']}",
                step=run.last_step,
                origin=str(path),
            )
    return None


def _check_named_once(arguments: Report) -> None:
    """Checks that no run is named twice: two seeds on one side, no difference on both.

    Raises:
        ArtifactError: if one is.
    """
    for name in ("baseline", "candidate", "student", *TASKS):
        named = [further_models.identity(one) for one in getattr(arguments, name)]
        option = name.replace("_", "-")
        if twice := [one for one in dict.fromkeys(named) if named.count(one) > 1]:
            raise ArtifactError(f"--{option} names {', '.join(twice)} twice; name each run once.")
    if bool(arguments.baseline_tasks) != bool(arguments.candidate_tasks):
        raise ArtifactError(
            f"--baseline-tasks names {len(arguments.baseline_tasks)} runs and --candidate-tasks "
            f"{len(arguments.candidate_tasks)}; gains on tasks need runs of both sides."
        )
    sides = [
        {further_models.identity(one) for one in side}
        for side in (arguments.baseline, arguments.candidate)
    ]
    if both := sorted(sides[0] & sides[1]):
        raise ArtifactError(
            f"--baseline and --candidate both name {', '.join(both)}; a run against itself has no "
            "gain: name two runs."
        )
    further_models.check_named_once(arguments.also, sides[0] | sides[1])


def _is_finished(intent: Intent) -> bool:
    """Returns whether a report of these inputs, by this version, is there."""
    if not exists(join_path(intent.place, MANIFEST)):
        return False
    head, version = claims.read_head(intent.place), claims.code_version()
    inputs = intent.claimed_for.inputs
    return (head.stage, head.inputs, head.code_version) == (STAGE, inputs, version)


def _check_same_inputs(intent: Intent) -> None:
    """Checks that a report in the directory is on these inputs.

    Raises:
        ArtifactError: if it is on others.
    """
    out, inputs = intent.place, intent.claimed_for.inputs
    for name in (MANIFEST, claims.CLAIM):
        if exists(join_path(out, name)):
            there = claims.read_head(out, name)
            if there.stage == STAGE and there.inputs != inputs:
                raise ArtifactError(_other_inputs(out, there.inputs, inputs))


def _other_inputs(out: Place | str, there: Mapping[str, str], inputs: Mapping[str, str]) -> str:
    differing = [name for name in {**there, **inputs} if there.get(name) != inputs.get(name)]
    return (
        f"{out} holds a report on other inputs ({len(differing)} files differ, such as "
        f"{differing[0]}); name another --out, or remove it."
    )


def _digests(arguments: Report) -> dict[str, str]:
    """Returns the digest of everything that is read, by side, number of the run and file."""
    digests = {
        f"{option}/{number}/{name}": digest_of_contents(path)
        for option in ("baseline", "candidate", "student")
        for number, directory in enumerate(getattr(arguments, option))
        for name, path in finished.files_read(directory).items()
    }
    digests |= {
        f"also/{model}/{number}/{name}": digest_of_contents(path)
        for model, directories in further_models.named(arguments.also).items()
        for number, directory in enumerate(directories)
        for name, path in finished.files_read(directory).items()
    }
    digests |= {
        f"{option}/{number}/{name}": digest_of_contents(path)
        for option in TASKS
        for number, directory in enumerate(getattr(arguments, option))
        for name, path in finetuned_runs.files_read(directory).items()
    }
    for stage, directory in (("clean", arguments.corpus), ("tokenize", arguments.tokens)):
        if directory is not None:
            claims.read_manifest(
                directory, corpus_stage(directory) if stage == "clean" else stage, claims.Head
            )
            digests[stage] = claims.digest_of_manifest(directory)
    return digests


def _names(baseline: FinishedRun, candidate: FinishedRun) -> tuple[str, str]:
    """Returns `mT5` (or `T5`) and `Switch`, or recipe names where both are of one kind."""
    kinds = tuple(_kind(run) for run in (baseline, candidate))
    if kinds[0] != kinds[1]:
        return kinds[0], kinds[1]
    recipes = (baseline.recipe["name"], candidate.recipe["name"])
    if recipes[0] != recipes[1]:
        return recipes
    return f"{kinds[0]} (baseline)", f"{kinds[1]} (candidate)"


def _kind(run: FinishedRun) -> str:
    dense = "T5" if run.recipe["name"].startswith("t5-") else "mT5"
    kind = dense if run.switch is None else "Switch"
    return f"{kind} (imported {run.recipe['name']})" if run.imported else kind


def _facts(of: Side, runs: Sequence[FinishedRun]) -> RunFacts:
    first = runs[0]
    totals = [side.total_curve(run, Unit.NATS_PER_TOKEN)[-1] for run in of.runs]
    return RunFacts(
        name=of.name,
        recipe=first.recipe["name"],
        seeds=tuple(run.recipe["seed"] for run in runs),
        parameters=first.about.parameters,
        flops_per_sequence=first.about.flops_per_sequence,
        experts=first.experts,
        devices=" + ".join(sorted({_counted(run.devices) for run in runs})),
        steps=first.last_step,
        step_seconds=finished.median_metric(runs, "seconds"),
        step_seconds_spread=finished.spread_over_tenths(runs, "seconds"),
        tokens_per_second=finished.median_metric(runs, "tokens_per_second"),
        dropped_share=(
            None if first.switch is None else finished.mean_of_last_tenth(runs, "dropped_share")
        ),
        training_loss_nats=finished.mean_of_last_tenth(runs, "loss_nats"),
        held_out_loss_nats=tuple(float(total) for total in totals),
        commits=tuple(dict.fromkeys(commit for run in runs for commit in run.about.commits)),
    )


def _counted(devices: Sequence[str]) -> str:
    """Returns `8 × TPU v5p` for eight such entries, `not recorded` for none."""
    kinds = [f"{devices.count(kind)} × {kind}" for kind in dict.fromkeys(devices)]
    return ", ".join(kinds) or "not recorded"
