"""Checks that Python finds mswitch's own packages, not others of the same names.

`data`, `model` and `eval` are common names: a folder of one's own that comes first on Python's path
hides ours. Only the standard library is imported here.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

NAMES = ("data", "model", "eval")


def check_not_hidden() -> None:
    """Exits with status 2 and one sentence if another package hides one of ours."""
    for name in NAMES:
        there = find_spec(name)
        found = Path(there.origin).resolve().parent if there and there.origin else None
        if found != Path(__file__).resolve().parents[1] / name:
            where = (
                "is missing beside this one" if found is None else f"is hidden by {str(found)!r}"
            )
            sys.stderr.write(  # `terminal` may import what is hidden; repr escapes the path
                f"mswitch: its package {name!r} {where}; take that folder off Python's path "
                "(PYTHONPATH, the working directory), or give mswitch an environment of its own.\n"
            )
            raise SystemExit(2)
