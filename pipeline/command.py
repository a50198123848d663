"""A command: a declaration of what it reads, writes and is set to, and its own work.

    @dataclass(frozen=True, kw_only=True)
    class Score(Stage):
        '''Score a corpus's pages: language, quality, personal data, text of benchmarks.'''

        example: ClassVar = "--corpus corpus --out scores"

        corpus: In[Corpus]
        '''Directory that `mswitch clean` wrote, local or on an object store.'''
        out: Out[str]
        '''Directory for manifest.json and pages/.'''
        beam: BeamOptions = ()

        def jobs(self) -> Iterator[Job]:
            from pipeline.curation.score import scoring

            yield scoring(self.corpus, self.out, self.beam)

From the types of the fields (`fields.py`) follow help, parsing, and what is refused before JAX,
Beam, SciPy and Arrow are loaded, which takes seconds: a number out of its range, an unknown
language, a place that holds no such artifact. From a job (`stage.py`) follow `--dry-run`, lock,
claim, manifest and the lines at the end. So the module of a command imports nothing large at its
top.

Only places on this machine are looked at early: the answer of a store would be waited for twice.
Several hosts look after they have joined, so that one that finds a mistake ends the others. Beam
checks its own options before anything else is looked at.
"""

import glob
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from data.files.paths import is_remote
from data.languages import codes
from model.config import ConfigurationError
from pipeline.artifacts import Kind
from pipeline.corpus.other_formats import no_such_input
from pipeline.errors import ArtifactError
from pipeline.fields import (
    ByWorkers,
    CacheOptions,
    LanguageNames,
    Range,
    RunDirectory,
    TextFiles,
    Word,
)
from pipeline.stage import Job, show
from pipeline.stopping import check_no_signal


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands have.

    Attributes:
        example: words of a command line that may be typed so, after the command's name.
    """

    example: ClassVar[str] = ""

    @classmethod
    def command_name(cls) -> str:
        """Returns the word of the command line, which is the name of the command's module."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    def check(self) -> None:
        """Checks what the types of the fields do not say, without a large library.

        Raises:
            ArtifactError: if values do not fit together.
        """

    def work(self) -> None:
        """Does what the command is for."""
        raise NotImplementedError

    def execute(self) -> None:
        """Checks the command and does its work; not `run`, a field of commands that read a run.

        Raises:
            ArtifactError: if the command is refused.
        """
        with on_hosts(self) as command:
            command.work()


@dataclass(frozen=True, kw_only=True)
class Stage(Command):
    """A command that reads or writes, in jobs."""

    dry_run: bool = False
    """Print what would be read and written, and refuse what the command would refuse; write
    nothing."""

    def jobs(self) -> Iterator[Job]:
        """Yields what is to be done, each job when the one before is done."""
        raise NotImplementedError

    def work(self) -> None:
        """Does the jobs, or shows what they would do."""
        for job in self.jobs():
            check_no_signal()  # what loads a library may swallow an interruption
            if self.dry_run:
                show(job.intent())
            else:
                job.run()


C = TypeVar("C", bound=Command)


@contextmanager
def on_hosts(command: C) -> Iterator[C]:
    """Yields a checked command on the hosts that it names, which are joined within the block.

    The cache of a dry run is removed afterwards.

    Raises:
        ArtifactError: if a value cannot be meant, or a place holds something else.
    """
    beam, hosts = getattr(command, "beam", ()), getattr(command, "hosts", None)
    if beam:
        from pipeline.beam.options import check_known

        check_known(beam)
    with ExitStack() as stack:
        if hosts is not None and hosts.count > 1:
            from pipeline.hardware.hosts import joined_hosts

            stack.enter_context(joined_hosts(hosts, command.command_name()))
        check_fields(command)
        if getattr(command, "dry_run", False) and hasattr(command, "cache"):
            directory = Path(stack.enter_context(TemporaryDirectory()))
            command = replace(command, cache=CacheOptions(directory=directory))
        yield command


def check_fields(command: Command) -> None:
    """Checks values, then what the command checks of them together, then places.

    Raises:
        ArtifactError: if a value cannot be meant, or a place holds something else.
        DataError: if an input names no file, workers do not reach a place, or a language is
            unknown.
        ConfigurationError: if settings of a recipe do not fit together.
    """
    declared = list(values(command))
    for option, kind, value in declared:
        check_value(option, kind, value)
    command.check()
    if getattr(command, "beam", ()):
        check_reached(command)
    for _, kind, value in declared:
        check_place(kind, value)


def values(settings: Any, prefix: str = "--") -> Iterator[tuple[str, Any, Any]]:
    """Yields option, annotation and value, of each annotation of each field's type."""
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        option, value = f"{prefix}{field.name.replace('_', '-')}", getattr(settings, field.name)
        if is_dataclass(value):
            yield from values(value, f"{option}.")
        for kind, part in _kinds(hints[field.name], value):
            yield option, kind, part


def _kinds(hint: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the annotations of a value's type, each with the value; of a tuple also its parts'."""
    if value is None or value == "" or value == ():
        return
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Annotated:
        yield from ((kind, value) for kind in hint.__metadata__)
        yield from _kinds(get_args(hint)[0], value)
    elif get_origin(hint) is tuple and isinstance(value, tuple):
        for part in value:
            yield from _kinds(get_args(hint)[0], part)


def check_value(option: str, kind: Any, value: Any) -> None:
    """Checks a value by itself.

    Args:
        option: option that gave it.
        kind: an annotation of its type.
        value: the value.

    Raises:
        ArtifactError: if a word has other characters than its kind.
        ConfigurationError: if a number is out of its range.
        DataError: if a language is unknown.
    """
    match kind:
        case Range() if value not in kind:
            raise ConfigurationError(f"{option} was {value:.12g}; give {kind}.")
        case Word() if not re.fullmatch(kind.pattern, value):
            raise ArtifactError(f"{option} {value!r} was given; {kind.advice}.")
        case LanguageNames():
            codes(value)


def check_place(kind: Any, value: Any) -> None:
    """Checks what lies at a place of this machine.

    Args:
        kind: an annotation of a field's type.
        value: its value.

    Raises:
        ArtifactError: if it holds something else than its kind, or nothing.
        DataError: if an input names no file.
    """
    match kind:
        case TextFiles():
            for pattern in value:
                names = itertools.chain([pattern], glob.iglob(pattern, recursive=True))
                if "://" not in pattern and not any(map(os.path.isfile, names)):
                    raise no_such_input(pattern)
        case Kind() if not is_remote(value):
            kind.check(value)
        case RunDirectory() if isinstance(value, Path):
            from pipeline.runs.directory import find_finished_run, find_run

            (find_finished_run if kind.finished else find_run)(value)


def check_reached(command: Any) -> None:
    """Checks that the workers of a Beam job reach the places that they open.

    Raises:
        DataError: if workers have disks of their own and a place is on this machine.
    """
    from data.reading.crawl import files_named
    from pipeline.beam.options import check_workers_reach, pipeline_options, use_store_options

    options = pipeline_options(command.beam)
    use_store_options(options)
    places: list[str] = []
    for _, kind, value in values(command):
        if isinstance(kind, TextFiles):
            places += files_named(value)
        elif isinstance(kind, ByWorkers) or kind == "written":
            places += map(str, value if isinstance(value, tuple) else (value,))
    check_workers_reach(options, places)
