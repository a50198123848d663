"""What a command line asks a run to begin with: --start, --trunk, --upcycle, or nothing."""

from pipeline.arguments import Pretrain
from pipeline.errors import ArtifactError
from pipeline.training.from_runs.branch import Branch
from pipeline.training.from_runs.first_weights import Start
from pipeline.training.from_runs.origin import Origin
from pipeline.training.from_runs.upcycle import requested_upcycling


def requested_origin(arguments: Pretrain) -> Origin:
    """Returns what the run begins with.

    Raises:
        ArtifactError: if the options contradict each other, or name no such run or checkpoint.
    """
    found = requested_upcycling(arguments) or requested_branch(arguments)
    if found is not None:
        return found
    return Origin() if arguments.start is None else Start(arguments.start)


def requested_branch(arguments: Pretrain) -> Branch | None:
    """Returns where the run branches off, or None if it is a run of its own.

    Raises:
        ArtifactError: if one of --trunk and --branch-at is missing, or --start is given too.
    """
    trunk, at = arguments.trunk, arguments.branch_at
    if trunk is None and at is None:
        return None
    if trunk is None or at is None or arguments.start is not None:
        raise ArtifactError(
            f"--trunk {trunk} and --branch-at {at} were given with --start {arguments.start}; a "
            "branch needs the first two, and begins with the trunk's weights."
        )
    return Branch(trunk, at)
