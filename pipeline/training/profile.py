"""The trace of some steps of a run, for TensorBoard and XProf."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax

from data.files.growing_files import WorkingFolder
from data.files.paths import Place
from model.config import ConfigurationError


def check_profile(steps: tuple[int, int] | None, of_run: int) -> None:
    """Checks that the steps to trace are steps of a run.

    Args:
        steps: first and last step to trace; None for no trace.
        of_run: number of steps of the run.

    Raises:
        ConfigurationError: if a step is not one of the run's, or the last precedes the first.
    """
    if steps is not None and not 1 <= steps[0] <= steps[1] <= of_run:
        raise ConfigurationError(
            f"--profile {steps[0]} {steps[1]} was asked of a run of {of_run} steps; name the first "
            "and the last step to trace, counted from 1."
        )


class Profile:
    """A trace of the steps first to last, counted from 1.

    Args:
        steps: first and last step to trace; None for no trace.
        directory: directory in which `plugins/profile/` is written.
    """

    def __init__(self, steps: tuple[int, int] | None, directory: Place):
        self.first, self.last = steps or (0, -1)
        self.directory = directory
        self.folder: WorkingFolder | None = None  # while a trace is taken

    def check_resumed(self, first: int, announce: Callable[[str], None]) -> None:
        """Announces that steps which an earlier start of the run made are not traced."""
        if 0 < self.first <= first:
            done = min(first, self.last)
            announce(f"steps {self.first} to {done} were made before; they are not traced.")

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Surrounds one step."""
        if self.folder is None and self.first <= step <= self.last:  # it may resume in between
            self.folder = WorkingFolder(self.directory)
            jax.profiler.start_trace(str(self.folder.here))
        with jax.profiler.StepTraceAnnotation("step", step_num=step):
            yield
        if step == self.last:
            self.stop()

    def stop(self) -> None:
        """Ends the trace after all dispatched work is done."""
        if self.folder is not None:
            jax.block_until_ready(jax.live_arrays())  # what a step returns is on its way
            jax.profiler.stop_trace()
            self.folder.publish()
            self.folder.close()
            self.folder = None
