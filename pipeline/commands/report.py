"""`mswitch report`: compares finished runs and writes JSON, CSV, Markdown and one HTML file.

Each run is named once. Runs, corpus and tokens are only read, and `manifest.json` holds the digests
of everything that was read. A report is derived from its inputs in seconds. A finished one on the
same inputs is not written again, and one on other inputs is refused, as by every stage.
"""

from data.files.atomic import write_text
from data.files.digests import digest_of_contents
from data.files.json_files import write_json
from data.files.paths import Place, join_path, read_bytes
from eval.report.contents import ReportContents
from eval.report.tables import csv_files, to_json
from eval.verdict import cautions, further_sentences, sentences
from pipeline import artifacts
from pipeline.arguments import Report
from pipeline.artifacts import MANIFEST, Claim, is_finished
from pipeline.errors import ArtifactError
from pipeline.fields import CORPUS
from pipeline.reporting import sides
from pipeline.reporting.contents import contents
from pipeline.runs import finished, tasks
from pipeline.runs.finished import TIME_FILE, TIME_STAGE
from pipeline.stage import Identity, Intent, Outcome, Reading, files_of, look, run_stage
from pipeline.terminal import Terminal

SIDES = "baseline", "candidate"
TASKS = "baseline_tasks", "candidate_tasks"


def check_named_once(arguments: Report) -> None:
    """Checks that no run is named twice: two seeds on one side, no difference on both.

    Raises:
        ArtifactError: if one is.
    """
    named = {
        name: [sides.identity(run) for run in getattr(arguments, name)]
        for name in (*SIDES, "student", *TASKS)
    }
    for name, runs in named.items():
        if twice := [run for run in dict.fromkeys(runs) if runs.count(run) > 1]:
            option = name.replace("_", "-")
            raise ArtifactError(f"--{option} names {', '.join(twice)} twice; name each run once.")
    if bool(arguments.baseline_tasks) != bool(arguments.candidate_tasks):
        raise ArtifactError(
            f"--baseline-tasks names {len(arguments.baseline_tasks)} runs and --candidate-tasks "
            f"{len(arguments.candidate_tasks)}; gains on tasks need runs of both sides."
        )
    for baseline, candidate in (SIDES, TASKS):
        if both := sorted({*named[baseline]} & {*named[candidate]}):
            options = f"--{baseline} and --{candidate}".replace("_", "-")
            raise ArtifactError(
                f"{options} both name {', '.join(both)}; a run against itself has no gain: name "
                "two runs."
            )
    sides.check_named_once(arguments.also, {run for name in SIDES for run in named[name]})


def digests(arguments: Report) -> dict[str, str]:
    """Returns the digest of everything that is read, by side, number of the run and file."""
    of_runs = {name: getattr(arguments, name) for name in ("baseline", "candidate", "student")}
    of_runs |= {
        f"also/{model}": directories
        for model, directories in sides.models_by_name(arguments.also).items()
    }
    read = {
        f"{side}/{number}/{name}": digest_of_contents(path)
        for side, runs in of_runs.items()
        for number, run in enumerate(runs)
        for name, path in finished.files_read(run).items()
    }
    read |= {
        f"{side}/{number}/{name}": digest_of_contents(path)
        for side in TASKS
        for number, run in enumerate(getattr(arguments, side))
        for name, path in tasks.files_read(run).items()
    }
    for stage, directory in (("clean", arguments.corpus), ("tokenize", arguments.tokens)):
        if directory is not None:
            artifacts.read_manifest(
                directory, CORPUS.stages if stage == "clean" else stage, artifacts.Head
            )
            read[stage] = artifacts.digest_of_manifest(directory)
    if arguments.step_times is not None:
        artifacts.read_manifest(arguments.step_times, TIME_STAGE, artifacts.Head)
        read[TIME_STAGE] = artifacts.digest_of_manifest(arguments.step_times)
    return read


STAGE = "report"
LANGUAGES = "languages.csv"
FILES = ("report.json", LANGUAGES, "report.md", "index.html")


def run(arguments: Report) -> None:
    """Writes the report's files; prints the sentences."""
    intent = _intent(arguments)
    # Compared first: what is refused claims no directory.
    report = None if look(intent) is Claim.FINISHED else contents(arguments)
    run_stage(intent, lambda: _write(arguments.out, report or contents(arguments)))


def _write(out: Place, report: ReportContents) -> Outcome:
    # Templates and pictures take over a second to load, which a refused command does not have.
    from eval.report.html import to_html
    from eval.report.markdown import to_markdown

    write_json(out / "report.json", to_json(report))
    write_text(out / LANGUAGES, csv_files(report)[LANGUAGES])
    write_text(out / "report.md", to_markdown(report))
    write_text(out / "index.html", to_html(report))
    files = {name: digest_of_contents(out / name) for name in FILES}
    measured = report.time_sentence if report.step_times else ""
    more = report.null_sentence, measured, report.bill_sentence
    lines = [sentences(report), *filter(None, more)]
    lines += [*further_sentences(report), *(f"- {caution}" for caution in cautions(report))]
    for line in lines:
        Terminal().print(line, highlight=False)
    body = {"sentence": sentences(report), "files": files}
    return Outcome(body, f"the report is in {out / 'index.html'}")


def intents(arguments: Report) -> list[Intent]:
    """Returns the command's intent; the runs are compared for it."""
    intent = _intent(arguments)
    if look(intent) is not Claim.FINISHED:
        contents(arguments)
    return [intent]


def _intent(arguments: Report) -> Intent:
    """Returns the command's intent.

    Raises:
        ArtifactError: if a run is named twice, or a directory holds no run.
    """
    check_named_once(arguments)
    also = [run for runs in sides.models_by_name(arguments.also).values() for run in runs]
    runs = (*arguments.baseline, *arguments.candidate, *arguments.student, *also)
    reads = [files_of("run", run, finished.files_read(run).values()) for run in runs]
    tuned = (*arguments.baseline_tasks, *arguments.candidate_tasks)
    reads += [files_of("run", run, tasks.files_read(run).values()) for run in tuned]
    reads += [
        Reading(f"manifest of {name}", place, 1, len(read_bytes(join_path(place, MANIFEST))))
        for name, place in (("corpus", arguments.corpus), ("tokens", arguments.tokens))
        if place is not None and is_finished(place)
    ]
    if (times := arguments.step_times) is not None:
        reads.append(files_of("step times", times, [times / TIME_FILE]))
    return Intent(
        stage=STAGE,
        reads=reads,
        writes=f"{', '.join(FILES[:-1])} and {FILES[-1]}",
        out=arguments.out,
        identity=Identity({}, digests(arguments)),
        work=f"{len(runs) + len(tuned)} runs, each page and language of their evaluations",
    )
