"""What a report reads: each run named once, and the digest of every file."""

from data.files.digests import digest_of_contents
from pipeline.arguments import Report
from pipeline.artifacts import claims
from pipeline.corpus.manifests import corpus_stage
from pipeline.errors import ArtifactError
from pipeline.runs import finetuned_runs, finished, further_models
from pipeline.runs.step_times import STAGE

SIDES = "baseline", "candidate"
TASKS = "baseline_tasks", "candidate_tasks"


def check_named_once(arguments: Report) -> None:
    """Checks that no run is named twice: two seeds on one side, no difference on both.

    Raises:
        ArtifactError: if one is.
    """
    named = {
        name: [further_models.identity(one) for one in getattr(arguments, name)]
        for name in (*SIDES, "student", *TASKS)
    }
    for name, runs in named.items():
        if twice := [one for one in dict.fromkeys(runs) if runs.count(one) > 1]:
            option = name.replace("_", "-")
            raise ArtifactError(f"--{option} names {', '.join(twice)} twice; name each run once.")
    if bool(arguments.baseline_tasks) != bool(arguments.candidate_tasks):
        raise ArtifactError(
            f"--baseline-tasks names {len(arguments.baseline_tasks)} runs and --candidate-tasks "
            f"{len(arguments.candidate_tasks)}; gains on tasks need runs of both sides."
        )
    for one, other in (SIDES, TASKS):
        if both := sorted({*named[one]} & {*named[other]}):
            options = f"--{one} and --{other}".replace("_", "-")
            raise ArtifactError(
                f"{options} both name {', '.join(both)}; a run against itself has no gain: name "
                "two runs."
            )
    further_models.check_named_once(arguments.also, {run for name in SIDES for run in named[name]})


def digests(arguments: Report) -> dict[str, str]:
    """Returns the digest of everything that is read, by side, number of the run and file."""
    of_runs = {name: getattr(arguments, name) for name in ("baseline", "candidate", "student")}
    of_runs |= {
        f"also/{model}": directories
        for model, directories in further_models.named(arguments.also).items()
    }
    found = {
        f"{side}/{number}/{name}": digest_of_contents(path)
        for side, runs in of_runs.items()
        for number, run in enumerate(runs)
        for name, path in finished.files_read(run).items()
    }
    found |= {
        f"{side}/{number}/{name}": digest_of_contents(path)
        for side in TASKS
        for number, run in enumerate(getattr(arguments, side))
        for name, path in finetuned_runs.files_read(run).items()
    }
    for stage, directory in (("clean", arguments.corpus), ("tokenize", arguments.tokens)):
        if directory is not None:
            claims.read_manifest(
                directory, corpus_stage(directory) if stage == "clean" else stage, claims.Head
            )
            found[stage] = claims.digest_of_manifest(directory)
    if arguments.step_times is not None:
        claims.read_manifest(arguments.step_times, STAGE, claims.Head)
        found[STAGE] = claims.digest_of_manifest(arguments.step_times)
    return found
