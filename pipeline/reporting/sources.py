"""What a report reads: runs of two sides, of students, of further models and on tasks, and text.

Each run is named once. A second name of one run would be a second seed, or no difference at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data.files.paths import Address, Place, place
from pipeline.errors import ArtifactError

LONGEST_NAME = 40  # characters of a model's name


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a report reads.

    Attributes:
        baseline: runs of the dense baseline, one per seed.
        candidate: runs of the candidate, one per seed.
        student: runs distilled from the candidate.
        also: NAME=RUN of further models.
        baseline_tasks: fine-tuned runs of the baseline.
        candidate_tasks: fine-tuned runs of the candidate.
        corpus: directory of the corpus, if the report is to show it.
        tokens: directory of the tokens, likewise.
        step_times: directory of measured step times, likewise.
    """

    baseline: tuple[Place, ...]
    candidate: tuple[Place, ...]
    student: tuple[Place, ...] = ()
    also: tuple[str, ...] = ()
    baseline_tasks: tuple[Place, ...] = ()
    candidate_tasks: tuple[Place, ...] = ()
    corpus: str | None = None
    tokens: str | None = None
    step_times: Place | None = None

    @property
    def models(self) -> dict[str, list[Place]]:
        """The runs of each further model; words of one name are seeds of one model.

        Raises:
            ArtifactError: if a word is not NAME=RUN.
        """
        models: dict[str, list[Place]] = {}
        for word in self.also:
            name, separator, run = word.partition("=")
            if not (separator and run and 0 < len(name.strip()) <= LONGEST_NAME) or "/" in name:
                raise ArtifactError(
                    f"--also was given {word!r}; write NAME=RUN, with a name of at most "
                    f"{LONGEST_NAME} characters and no slash."
                )
            models.setdefault(name.strip(), []).append(place(run))
        return models

    @property
    def runs(self) -> tuple[Place, ...]:
        """All runs that were trained on pages."""
        also = (run for runs in self.models.values() for run in runs)
        return *self.baseline, *self.candidate, *self.student, *also

    @property
    def tuned(self) -> tuple[Place, ...]:
        """All fine-tuned runs."""
        return *self.baseline_tasks, *self.candidate_tasks

    def check(self) -> None:
        """Checks that each run is named once, both sides have tasks or none, and models are few.

        Raises:
            ArtifactError: if not.
        """
        if self.also:
            from eval.groups import MOST_MODELS  # with Arrow

            if len(self.models) > MOST_MODELS:
                raise ArtifactError(
                    f"--also names {len(self.models)} models; a report shows at most {MOST_MODELS} "
                    "beside its two sides, whose colours and marks can still be told apart."
                )
        for option, runs in (
            ("baseline", self.baseline),
            ("candidate", self.candidate),
            ("student", self.student),
            ("baseline-tasks", self.baseline_tasks),
            ("candidate-tasks", self.candidate_tasks),
        ):
            names = _names(runs)
            if twice := [run for run in dict.fromkeys(names) if names.count(run) > 1]:
                raise ArtifactError(
                    f"--{option} names {', '.join(twice)} twice; name each run once."
                )
        if bool(self.baseline_tasks) != bool(self.candidate_tasks):
            raise ArtifactError(
                f"--baseline-tasks names {len(self.baseline_tasks)} runs and --candidate-tasks "
                f"{len(self.candidate_tasks)}; gains on tasks need runs of both sides."
            )
        _check_no_run_against_itself("", self.baseline, self.candidate)
        _check_no_run_against_itself("-tasks", self.baseline_tasks, self.candidate_tasks)
        sides = _names([*self.baseline, *self.candidate])
        also = _names([run for runs in self.models.values() for run in runs])
        if twice := [run for run in dict.fromkeys(also) if also.count(run) > 1 or run in sides]:
            raise ArtifactError(
                f"--also names {', '.join(twice)}, which is named already; name each run once."
            )


def _names(runs: Sequence[Place]) -> list[str]:
    """Returns the one name of each run, whose directory may be named in several ways."""
    return [run if isinstance(run, Address) else str(run.resolve()) for run in runs]


def _check_no_run_against_itself(
    kind: str, baseline: Sequence[Place], candidate: Sequence[Place]
) -> None:
    if both := sorted({*_names(baseline)} & {*_names(candidate)}):
        raise ArtifactError(
            f"--baseline{kind} and --candidate{kind} both name {', '.join(both)}; a run against "
            "itself has no gain: name two runs."
        )
