"""Prints what an environment of this checkout needs, one requirement per line, for `make install`.

    python .ci/required.py demo,dev

These are the dependencies of pyproject.toml, those of the extras, pip, and the tools that build
the checkout. Versions and hashes are in requirements.lock. Only the standard library is used,
because nothing is installed yet.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PARSED = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
OFFERED = PARSED["project"]["optional-dependencies"]
OWN_EXTRAS = re.compile(r"mswitch\[([\w,-]+)\]")


def required(extras: Iterable[str]) -> list[str]:
    """Returns the requirements, sorted, each once."""
    always = PARSED["build-system"]["requires"] + PARSED["project"]["dependencies"]
    return sorted({"pip", *always, *_of(extras)})


def _of(extras: Iterable[str]) -> Iterator[str]:
    for extra in extras:
        for requirement in OFFERED[extra]:
            own = OWN_EXTRAS.fullmatch(requirement)
            yield from _of(own[1].split(",")) if own else [requirement]


if __name__ == "__main__":
    print("\n".join(required(name for name in sys.argv[1].split(",") if name)))
