"""A report: finished runs are compared and written as JSON, CSV, Markdown and one HTML file.

Runs, corpus and tokens are only read, and `manifest.json` holds the digests of everything that was
read. A report is derived from its inputs in seconds. A finished one on the same inputs is not
written again, and one on other inputs is refused, as by every stage.
"""

from collections.abc import Iterator

from data.files.atomic import write_text
from data.files.digests import digest_of_contents
from data.files.json_files import write_json
from data.files.paths import Place, join_path, read_bytes
from eval.report.contents import ReportContents
from eval.report.data import csv_files, to_json
from eval.verdict import cautions, further_sentences, is_better, opponent_sentences, sentences
from pipeline.artifacts import (
    CORPUS,
    MANIFEST,
    STEP_TIMES,
    TOKENS,
    Claim,
    Head,
    digest_of_manifest,
    read_manifest,
)
from pipeline.reporting.contents import contents
from pipeline.reporting.sources import Sources
from pipeline.runs import finished, tasks
from pipeline.runs.finished import TIME_FILE
from pipeline.runs.uses import export_command
from pipeline.stage import Identity, Intent, Job, Outcome, Reading, files_of, look, run_stage
from pipeline.terminal import Terminal

LANGUAGES = "languages.csv"
FILES = ("report.json", LANGUAGES, "report.md", "index.html")


def reporting(sources: Sources, out: Place, *, differences_allowed: bool) -> Job:
    """Returns the job that compares runs and writes the report.

    Args:
        sources: what is compared.
        out: directory of the report.
        differences_allowed: whether runs may differ beyond the feed-forward.

    Raises:
        ArtifactError: if a directory holds no run, or the runs cannot be compared.
    """
    reads = [files_of("run", run, finished.files_read(run).values()) for run in sources.runs]
    reads += [files_of("run", run, tasks.files_read(run).values()) for run in sources.tuned]
    identity = Identity({}, digests(sources))
    reads += [
        Reading(f"manifest of {name}", place, 1, len(read_bytes(join_path(place, MANIFEST))))
        for name, place in (("corpus", sources.corpus), ("tokens", sources.tokens))
        if place is not None
    ]
    if (times := sources.step_times) is not None:
        reads.append(files_of("step times", times, [times / TIME_FILE]))
    intent = Intent(
        stage="report",
        reads=reads,
        writes=f"{', '.join(FILES[:-1])} and {FILES[-1]}",
        out=out,
        identity=identity,
        work=f"{len(sources.runs) + len(sources.tuned)} runs, each page and language of their "
        "evaluations",
    )
    # Compared first: what is refused claims no directory.
    is_finished = look(intent) is Claim.FINISHED
    report = None if is_finished else contents(sources, differences_allowed=differences_allowed)

    def work() -> Outcome:
        compared = report or contents(sources, differences_allowed=differences_allowed)
        return write(sources, out, compared)

    return Job(lambda: intent, lambda: run_stage(intent, work))


def digests(sources: Sources) -> dict[str, str]:
    """Returns the digest of everything that is read, by side, number of the run and file.

    Raises:
        ArtifactError: if corpus, tokens or step times are not there.
    """
    of_runs = {
        "baseline": sources.baseline,
        "candidate": sources.candidate,
        "student": sources.student,
    } | {f"also/{model}": runs for model, runs in sources.models.items()}
    read = {
        f"{side}/{number}/{name}": digest_of_contents(path)
        for side, runs in of_runs.items()
        for number, run in enumerate(runs)
        for name, path in finished.files_read(run).items()
    }
    tuned = ("baseline_tasks", sources.baseline_tasks), ("candidate_tasks", sources.candidate_tasks)
    read |= {
        f"{side}/{number}/{name}": digest_of_contents(path)
        for side, runs in tuned
        for number, run in enumerate(runs)
        for name, path in tasks.files_read(run).items()
    }
    for kind, directory in (
        (CORPUS, sources.corpus),
        (TOKENS, sources.tokens),
        (STEP_TIMES, sources.step_times),
    ):
        if directory is not None:
            read_manifest(directory, kind.stages, Head)
            read[kind.stages[0]] = digest_of_manifest(directory)
    return read


def write(sources: Sources, out: Place, report: ReportContents) -> Outcome:
    """Writes the report's files and prints its sentences."""
    # Templates and pictures take over a second to load, which a refused command does not have.
    from eval.report.html import to_html
    from eval.report.markdown import to_markdown

    write_json(out / "report.json", to_json(report))
    write_text(out / LANGUAGES, csv_files(report)[LANGUAGES])
    write_text(out / "report.md", to_markdown(report))
    write_text(out / "index.html", to_html(report))
    files = {name: digest_of_contents(out / name) for name in FILES}
    measured = report.time_sentence if report.step_times else ""
    more = report.null_sentence, measured, report.bills[0]
    lines = [sentences(report), *opponent_sentences(report), *filter(None, more)]
    lines += [*further_sentences(report), *(f"- {caution}" for caution in cautions(report))]
    for line in lines:
        Terminal().print(line, highlight=False)
    body = {"sentence": sentences(report), "files": files}
    made = f"the report is in {out / 'index.html'}"
    return Outcome(body, made, following=next_command(sources, out, report))


def next_command(sources: Sources, out: Place, report: ReportContents) -> Iterator[object]:
    """Yields the words that export the better side, the dense one where that cannot be told."""
    runs = sources.candidate if is_better(report) else sources.baseline
    yield from export_command(runs[0]) or ("inspect", out)
