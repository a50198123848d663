"""The step times of a report, which must be those of its own runs."""

from collections.abc import Sequence

from data.files.digests import digest_of_contents
from data.files.paths import Place
from eval import gains, speed_up
from eval.report.contents import ReportContents
from eval.speed_up import Rounds, StepTimes
from pipeline.errors import ArtifactError
from pipeline.reporting.facts import counted
from pipeline.runs.directory import RECIPE
from pipeline.runs.finished import FinishedRun
from pipeline.runs.step_times import MeasuredRun, read_step_times


def step_times_of(
    directory: Place | None,
    report: ReportContents,
    sides: tuple[Sequence[FinishedRun], Sequence[FinishedRun]],
) -> StepTimes | None:
    """Returns what a report shows of measured step times; None if none were named.

    Args:
        directory: what `mswitch time` wrote.
        report: the report so far.
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
        _check_is_one_of(directory, name, measured, runs)
    baseline, candidate = record.seconds
    measured = Rounds(
        baseline_run=str(record.baseline),
        candidate_run=str(record.candidate),
        devices=counted(record.devices),
        steps=record.steps_per_round,
        baseline_seconds=baseline,
        candidate_seconds=candidate,
    )
    speedup = gains.log_speedup(report.summary, report.baseline, report.candidate)
    return speed_up.step_times(measured, speedup)


def _check_is_one_of(
    directory: Place, side: str, measured: MeasuredRun, runs: Sequence[FinishedRun]
) -> None:
    known = {digest_of_contents(run.directory / RECIPE) for run in runs}
    if measured.recipe_sha256 not in known:
        raise ArtifactError(
            f"The step times in {directory} have {measured.run}, {measured.name}, as the "
            f"{side}, which is not a --{side} of this report; measure runs that it compares with "
            "`mswitch time`, or leave --step-times out."
        )
