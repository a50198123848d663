"""The step times that `mswitch time` measured: `step_times.json`, its shape and its reading."""

from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from msgspec import Meta, Struct

from data.files.digests import digest_of_contents
from data.files.json_files import Count, Digest, read_json
from data.files.paths import Place, exists
from eval.speed_up import step_time_ratio
from pipeline.artifacts.claims import read_manifest
from pipeline.errors import ArtifactError
from pipeline.runs.record import Seed

FILE = "step_times.json"
STAGE = "time"
Seconds = Annotated[float, Meta(gt=0, le=1e9)]


class MeasuredRun(Struct, frozen=True, kw_only=True):
    """A run whose steps were timed.

    Attributes:
        run: directory of the run, as it was named.
        recipe: name of its recipe.
        seed: seed of the run.
        step: step of the checkpoint that its steps went on from.
        recipe_sha256: digest of its recipe.json.
    """

    run: str
    recipe: str
    seed: Seed
    step: Count
    recipe_sha256: Digest

    @property
    def name(self) -> str:
        """Recipe and seed."""
        return f"{self.recipe} (seed {self.seed})"

    def __str__(self) -> str:
        return f"{self.name} from step {self.step:,} on"


class Round(Struct, frozen=True, kw_only=True):
    """Seconds of one round.

    Attributes:
        first: side that went first.
        baseline_seconds, candidate_seconds: wall time of the steps of each side.
    """

    first: Literal["baseline", "candidate"]
    baseline_seconds: Seconds
    candidate_seconds: Seconds


class StepTimesRecord(Struct, frozen=True, kw_only=True):
    """step_times.json.

    Attributes:
        baseline, candidate: the two runs.
        steps_per_round: number of steps per round and side.
        rounds: rounds in order, without the one that is not counted.
        devices: kind of each device.
        machine: operating system and number of processors.
        versions: versions of the code and of the libraries that ran it.
    """

    baseline: MeasuredRun
    candidate: MeasuredRun
    steps_per_round: Annotated[int, Meta(ge=1)]
    rounds: Annotated[tuple[Round, ...], Meta(min_length=2)]
    devices: tuple[str, ...]
    machine: dict[str, Any] = {}
    versions: dict[str, Any] = {}

    @property
    def seconds(self) -> tuple[Float[np.ndarray, " rounds"], Float[np.ndarray, " rounds"]]:
        """Seconds per round of the baseline and of the candidate."""
        return (
            np.array([one.baseline_seconds for one in self.rounds]),
            np.array([one.candidate_seconds for one in self.rounds]),
        )

    def in_words(self) -> str:
        """Returns medians, ratio and interval."""
        ratio = step_time_ratio(*self.seconds)
        low, high = ratio.ends
        one, other = (float(np.median(each)) / self.steps_per_round for each in self.seconds)
        return (
            f"a step takes {one:.3g} s with {self.baseline.name} and {other:.3g} s with "
            f"{self.candidate.name} (medians of {len(self.rounds)} rounds), a ratio of "
            f"{ratio.ratio:.3f} (95 % interval {low:.3f} to {high:.3f})"
        )


class TimeManifest(Struct, frozen=True):
    """The manifest: digest of step_times.json."""

    sha256: Digest


def read_step_times(directory: Place) -> StepTimesRecord:
    """Returns finished step times.

    Raises:
        ArtifactError: if there are none, or they are not those that were measured.
    """
    manifest, path = read_manifest(directory, STAGE, TimeManifest), directory / FILE
    if not exists(path) or digest_of_contents(path) != manifest.sha256:
        raise ArtifactError(
            f"{path} differs from its checksum in the manifest; measure again into another "
            "directory."
        )
    return read_json(path, StepTimesRecord)
