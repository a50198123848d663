"""`mswitch inspect DIR`: verifies any artifact, checksums included, and prints its contents."""

import io
import json
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import tyro

from data.files.paths import is_remote, place
from pipeline.command import Command
from pipeline.fields import CacheOptions
from pipeline.terminal import Terminal, print_lines


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Verify any artifact and print its contents.

    Blocks, exports, reports and checkpoints have checksums; of corpora and scores the numbers of
    rows are compared.
    """

    example: ClassVar = "runs/switch"

    directory: Annotated[str, tyro.conf.Positional]
    """Directory that a command wrote: a corpus, token blocks or a run also by its address on an
    object store."""
    json: bool = False
    """Print the manifest as JSON, with the losses of a run by step, once all is verified."""
    cache: CacheOptions = field(default=CacheOptions())

    def check(self) -> None:
        """Checks that the directory holds an artifact, if it is on this machine."""
        from pipeline.runs.directory import described_by

        if not is_remote(self.directory):
            described_by(place(self.directory))

    def work(self) -> None:
        """Verifies the artifact and prints its contents, as text or as JSON."""
        from pipeline.inspection import inspect, json_of

        inspect(self.directory, Terminal(file=io.StringIO() if self.json else None), self.cache)
        if self.json:
            print_lines(*json.dumps(json_of(self.directory), indent=2).split("\n"))
