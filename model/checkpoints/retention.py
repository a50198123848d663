"""Which checkpoints of a run are kept, wherever they are stored."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

KEPT = 2


class Kept(NamedTuple):
    """Which checkpoints Orbax does not delete.

    Attributes:
        every: interval of steps to keep; 0 for none.
        chosen: returns further steps to keep, such as the best one so far.
    """

    every: int
    chosen: Callable[[], Collection[int]]

    def of(self, steps: Sequence[int]) -> list[bool]:
        """Returns which of these steps to keep: the last two, and those named above."""
        chosen, last = self.chosen(), steps[-KEPT:]
        return [
            step in last or step in chosen or bool(self.every and step % self.every == 0)
            for step in steps
        ]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns what Orbax asks for: which of its checkpoints to keep."""
        return self.of([one.step for one in checkpoints])
