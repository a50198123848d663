"""`mswitch doctor`: what this machine and installation are, and what would stop a run.

Nothing is written. Devices and TensorFlow are tried in processes of their own, as a broken driver
may end one. A package that hides one of ours is named before any command runs (`own_packages`).
"""

import json
from collections.abc import Iterator

from pipeline.arguments import Doctor
from pipeline.hardware.finding import Finding
from pipeline.hardware.installation import installation
from pipeline.hardware.machine import machine
from pipeline.terminal import print_lines


def run(arguments: Doctor) -> None:
    """Prints every finding.

    Raises:
        SystemExit: with status 1 if something would stop a run.
    """
    found = [*installation(), *machine(arguments.out, arguments.store)]
    if arguments.json:
        rows = [one._asdict() for one in found]
        print_lines(*json.dumps(rows, indent=2, ensure_ascii=False).splitlines())
    else:
        print_lines(*lines(found))
    if any(one.stops for one in found):
        raise SystemExit(1)


def lines(found: list[Finding]) -> Iterator[str]:
    """Yields one line per finding, those that stop a run once more at the end."""
    for one in found:
        remedy = f"; {one.remedy}" if one.remedy else ""
        yield f"{one.mark:4}  {one.subject}: {one.found}{remedy}"
    stops = [one.subject for one in found if one.stops]
    yield f"A run would be stopped by: {', '.join(stops)}." if stops else "Nothing stops a run."
