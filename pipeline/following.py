"""The places in the command that follows another: what the user named, and what lies beside it.

    mswitch pretrain --recipe switch-laptop --tokens own/tokens --out own/runs/switch
    pretrain: next: mswitch report --baseline own/runs/mt5 --candidate own/runs/switch
        --corpus own/corpus --tokens own/tokens --out own/report

A next command is printed to be pasted, so no place in it is guessed. What it writes lies beside
what it reads, in a directory that is not there yet. What it reads beyond the arguments of the
command that ended is found by the digests that manifests record of their inputs. What is not found
is left out, and where a command needs it no command is printed.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, count, filterfalse
from pathlib import Path

from data.errors import DataError
from data.files.paths import Address, Place, directories_in, exists, place
from pipeline.artifacts import CORPUS, TOKENS, Head, Kind, digest_of_manifest, head_in, is_finished

MOST_NEIGHBOURS = 200  # directories that are looked at: a bucket may have many
CORPUS_INPUT = "corpus_"  # names of the corpora among the inputs of tokens, with their numbers


def new_beside(neighbour: Place | str, *names: str) -> Place:
    """Returns a place beside another that holds nothing: of these names, or the last with a number.

    Args:
        neighbour: an input or output of a command, as the user named it.
        names: names in the order of preference; they may have several parts.
    """
    folder = place(neighbour).parent
    numbered = (f"{names[-1]}-{number}" for number in count(2))
    places = (folder / name for name in chain(names, numbered))
    return next(filterfalse(exists, places))


def finished_near(neighbour: Place | str, kind: Kind) -> Iterator[tuple[Place, Head]]:
    """Yields the finished artifacts of a kind beside a place, then those one folder higher."""
    folder = place(neighbour).parent
    folders = dict.fromkeys([folder] if isinstance(folder, Address) else [folder, folder.parent])
    for folder in folders:
        for name in directories_in(folder)[:MOST_NEIGHBOURS]:
            with suppress(DataError, OSError):  # a neighbour may be damaged, or another user's
                head = head_in(folder / name)
                if head and head.stage in kind.stages and is_finished(folder / name):
                    yield folder / name, head


def with_digest(neighbour: Place | str, kind: Kind, digest: str | None) -> Place | None:
    """Returns the artifact near a place whose manifest has a digest; None if there is none."""
    if not digest:
        return None
    near = (there for there, _ in finished_near(neighbour, kind))
    return next((there for there in near if digest_of_manifest(there) == digest), None)


def made_from(neighbour: Place | str, kind: Kind, digest: str) -> Iterator[tuple[Place, Head]]:
    """Yields the artifacts near a place that read an input with a digest."""
    for there, head in finished_near(neighbour, kind):
        if digest in head.inputs.values():
            yield there, head


def corpus_of(tokens: Place | str) -> Place | None:
    """Returns the one corpus of token blocks; None if they have several, or it is not near."""
    head = head_in(tokens)
    inputs = {} if head is None else head.inputs
    digests = [value for name, value in inputs.items() if name.startswith(CORPUS_INPUT)]
    return with_digest(tokens, CORPUS, digests[0]) if len(digests) == 1 else None


def option(name: str, values: Iterable[object | None]) -> tuple[object, ...]:
    """Returns the words of an option with its values that are there; none without any."""
    given = [value for value in values if value is not None]
    return (name, *given) if given else ()


def first_training(recipe: str) -> list[str]:
    """Returns the words that train a recipe on the tokens of this folder.

    Where it has none, they name the `tokens` that are still to be made: a plan needs none.
    """
    beside = Path("tokens")
    tokens = next((there for there, _ in finished_near(beside, TOKENS)), beside)
    out = new_beside(tokens, f"runs/{recipe}")
    return ["pretrain", "--recipe", recipe, "--tokens", str(tokens), "--out", str(out)]
