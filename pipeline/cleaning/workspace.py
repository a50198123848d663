"""Where the steps of one cleaning run leave their results for each other, until the run is whole.

    OUT/work/KEY/read/00003.arrow       spilled pages or keys of one piece of work
    OUT/work/KEY/read/00003.json        its tally, written last: the piece is done
    OUT/work/KEY/scratch/               what is not whole yet

KEY is a digest of all that the work follows from (settings, inputs and when they were written,
their cut, the code's version): what follows from anything else is not believed. Files of the corpus
have no KEY in their names, so they are removed where a workspace of another KEY stands beside them,
and that one last: a kill in between leaves what says that they are not this run's.

A piece of work that has its tally is never done again. So a run that was killed goes on where it
was, and pieces that had been cut short are written anew under the same names.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pipeline import storage
from pipeline.cleaning.tally import Tally

CORPUS = ("pages", "rejected", "broken")  # folders of an output directory
SCRATCH = "scratch"


def clear(out: str) -> None:
    """Removes what runs left for themselves, when the corpus is whole."""
    storage.remove(storage.join(out, storage.WORK))


def forget_others(space: "Workspace") -> bool:
    """Removes what an unfinished run of another key left, and says whether there was anything."""
    work = storage.join(space.out, storage.WORK)
    others = [name for name in storage.directories_in(work) if name not in (space.key, SCRATCH)]
    for name in (*CORPUS, *(f"{storage.WORK}/{other}" for other in others)) if others else ():
        storage.remove(storage.join(space.out, name))
    return bool(others)


@dataclass(frozen=True)
class Workspace:
    """The workspace of the run that writes to this directory."""

    out: str
    key: str

    @property
    def directory(self) -> str:
        """All of this run's."""
        return storage.join(self.out, storage.WORK, self.key)

    @property
    def scratch(self) -> str:
        """Holds what is not whole yet."""
        return storage.join(self.directory, SCRATCH)

    def spill(self, step: str, number: int, of: str = "") -> str:
        """Returns the path of what a step spilled, `of` naming one of several files."""
        return storage.join(self.directory, step + of, f"{number:05d}.arrow")

    def name_of(self, path: str) -> str:
        """Returns the path of a spilled file below the workspace."""
        return path.removeprefix(f"{self.directory}/")

    def path_of(self, name: str) -> str:
        """Returns the path of a spilled file that has this name."""
        return storage.join(self.directory, name)

    def publish(self, path: str) -> AbstractContextManager[Path]:
        """Gives a place to write what will be the file of this path."""
        return storage.published(path, self.scratch)

    def is_done(self, step: str, number: int) -> bool:
        """Says whether a piece of work has its tally."""
        return storage.exists(self._tally(step, number))

    def finish(self, step: str, number: int, tally: Tally) -> None:
        """Writes the tally of a piece of work, which makes it done."""
        storage.write_json(self._tally(step, number), tally.as_json(), self.scratch)

    def tally(self, step: str, number: int) -> Tally:
        """Returns the tally of a piece of work that is done."""
        return Tally.of_json(storage.read_json(self._tally(step, number)))

    def tallies(self, step: str) -> Iterator[Tally]:
        """Yields the tallies of a step, in order."""
        for name in self.done(step):
            yield Tally.of_json(storage.read_json(storage.join(self.directory, step, name)))

    def done(self, step: str) -> list[str]:
        """Returns the names of the tallies of a step, in order."""
        names = storage.names_in(storage.join(self.directory, step))
        return [name for name in names if name.endswith(".json")]

    def _tally(self, step: str, number: int) -> str:
        return storage.join(self.directory, step, f"{number:05d}.json")
