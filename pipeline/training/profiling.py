"""A trace of some steps, for `xprof`, TensorBoard's profile page or Perfetto."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from model.config import ConfigurationError


def check_profile(steps: tuple[int, int] | None, of_run: int) -> None:
    """Checks that the steps to be traced are steps of a run.

    Raises:
        ConfigurationError: they are not, or end before they begin.
    """
    if steps is not None and not 1 <= steps[0] <= steps[1] <= of_run:
        raise ConfigurationError(
            f"--profile {steps[0]} {steps[1]} was asked of a run of {of_run} steps; name the first "
            "and the last step to trace, counted from 1."
        )


class Profile:
    """Traces the steps first to last, counted as the run counts them, into a directory.

    Args:
        steps: first and last step; None traces nothing.
        directory: where `plugins/profile/` will be.
    """

    def __init__(self, steps: tuple[int, int] | None, directory: Path):
        self.first, self.last = steps or (0, -1)
        self.directory = directory
        self.tracing = False

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Surrounds one step."""
        if step == self.first:
            jax.profiler.start_trace(str(self.directory))
            self.tracing = True
        with jax.profiler.StepTraceAnnotation("step", step_num=step):
            yield
        if step == self.last:
            self.stop()

    def stop(self) -> None:
        """Ends the trace, once what was started on the devices is done."""
        if self.tracing:
            jax.effects_barrier()
            jax.profiler.stop_trace()
            self.tracing = False
