"""Prints what an environment of this checkout needs, one requirement per line, for `make install`.

    python .ci/required.py demo,dev
    python .ci/required.py --locked VERSIONS

These are the dependencies of pyproject.toml, those of the extras, pip, uv, and the tools that build
the checkout. With --locked, VERSIONS holds what uv chose for them, one `name==version` per line.
Printed are their lines of requirements.lock, which have the hashes. Only the standard library is
used, because nothing is installed yet.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARSED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OFFERED = PARSED["project"]["optional-dependencies"]
OWN_EXTRAS = re.compile(r"mswitch\[([\w,-]+)\]")


def required(extras: Iterable[str]) -> list[str]:
    """Returns the requirements, sorted, each once."""
    always = PARSED["build-system"]["requires"] + PARSED["project"]["dependencies"]
    return sorted({"pip", "uv", *always, *_of(extras)})


def _of(extras: Iterable[str]) -> Iterator[str]:
    for extra in extras:
        for requirement in OFFERED[extra]:
            own = OWN_EXTRAS.fullmatch(requirement)
            yield from _of(own[1].split(",")) if own else [requirement]


def locked(versions: str) -> list[str]:
    """Returns the packages of requirements.lock that have one of these names, with their hashes."""
    names = {_name(line) for line in versions.splitlines() if line}
    packages = re.split(
        r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8").strip()
    )
    return [package for package in packages if _name(package) in names]


def _name(requirement: str) -> str:
    return re.split(r"[\[= ;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


if __name__ == "__main__":
    if sys.argv[1] == "--locked":
        print("\n".join(locked(Path(sys.argv[2]).read_text(encoding="utf-8"))))
    else:
        print("\n".join(required(name for name in sys.argv[1].split(",") if name)))
