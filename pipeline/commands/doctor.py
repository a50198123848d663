"""`mswitch doctor`: what this machine and installation are, and what would stop a run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pipeline.command import Command
from pipeline.fields import Out
from pipeline.terminal import print_lines


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Check this machine and installation; exit status 1 if something would stop a run."""

    example: ClassVar = "--out runs"

    out: Out[Path] = field(default=Path("."))
    """Directory that runs are to be written to."""
    store: tuple[str, ...] = ()
    """Addresses on object stores to try, such as s3://bucket/corpus."""
    json: bool = False
    """Print the findings as JSON."""

    def work(self) -> None:
        """Prints every finding.

        Raises:
            SystemExit: with status 1 if something would stop a run.
        """
        from pipeline.machine import installation, lines, machine

        findings = [*installation(), *machine(self.out, self.store)]
        if self.json:
            rows = [finding._asdict() for finding in findings]
            print_lines(*json.dumps(rows, indent=2, ensure_ascii=False).splitlines())
        else:
            print_lines(*lines(findings))
        if any(finding.stops for finding in findings):
            raise SystemExit(1)
