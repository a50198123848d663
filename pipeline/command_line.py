"""The command line: commands by name, words parsed to arguments, words that cannot be meant."""

import difflib
import functools
import importlib.util
import itertools
import operator
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import MISSING, fields, is_dataclass, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import tyro

from pipeline.commands.clean import Clean
from pipeline.commands.demo import Demo
from pipeline.commands.distill import Distill
from pipeline.commands.doctor import Doctor
from pipeline.commands.estimate import Estimate
from pipeline.commands.evaluate import Evaluate
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.fill import Fill
from pipeline.commands.finetune import Finetune
from pipeline.commands.import_hf import ImportHf
from pipeline.commands.inspect import Inspect
from pipeline.commands.plan import Plan
from pipeline.commands.pretrain import Pretrain
from pipeline.commands.prune import Prune
from pipeline.commands.recipes import Recipes
from pipeline.commands.report import Report
from pipeline.commands.score import Score
from pipeline.commands.select import Select
from pipeline.commands.time import Time
from pipeline.commands.tokenize import Tokenize
from pipeline.commands.vocabulary import Vocabulary
from pipeline.commands.withdraw import Withdraw
from pipeline.errors import ArtifactError
from pipeline.fields import SYNONYMS
from pipeline.terminal import broken, print_lines

# Each command by what it is for, in the order of their use.
GROUPS: dict[str, dict[str, Any]] = {
    "text": {
        "clean": Clean,
        "estimate": Estimate,
        "score": Score,
        "select": Select,
        "withdraw": Withdraw,
    },
    "tokens": {
        "vocabulary": Vocabulary,
        "tokenize": Tokenize,
    },
    "training": {
        "recipes": Recipes,
        "plan": Plan,
        "pretrain": Pretrain,
        "finetune": Finetune,
        "distill": Distill,
    },
    "using": {
        "fill": Fill,
        "prune": Prune,
        "import-hf": ImportHf,
        "export-hf": ExportHf,
    },
    "looking": {
        "evaluate": Evaluate,
        "time": Time,
        "report": Report,
        "inspect": Inspect,
        "doctor": Doctor,
        "demo": Demo,
    },
}
COMMANDS = {name: kind for group in GROUPS.values() for name, kind in group.items()}

HOME = re.compile(r"(^|=|:)~(?=/|$)")
HOME_OF_SENTENCE = re.compile(r"^(--[\w.-]+=)?~(?=/|$)")  # a word with spaces: its beginning alone
WHOLE_NUMBER = re.compile(r"[+-]?[0-9][0-9_]*")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")  # first part of an address parsed as a path

DESCRIPTION = """Text in up to 101 languages goes in; out come models for these languages, dense
(mT5) and sparse (Switch Transformer), and a report of what sparsity gains in each."""
BEGIN = """Begin with `clean`, on text or web pages of your own, and give each command that the one
before ends with; or with `demo`, which does all of it on small text. `mswitch COMMAND --help` shows
the options of a command and an example."""
WIDTH = 80


class Option(NamedTuple):
    """An option of a command, or its word without one.

    Attributes:
        kind: type of a value, without what it says beside.
        takes_several: whether it takes several values.
        is_needed: whether the command cannot run without it.
        is_positional: whether it is given without its name.
    """

    kind: Any
    takes_several: bool
    is_needed: bool
    is_positional: bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of an option of one value that takes a few words only; else none."""
        return (
            get_args(self.kind)
            if get_origin(self.kind) is Literal and not self.takes_several
            else ()
        )


def options(command: str = "") -> dict[str, Option]:
    """Returns the options of a command by their fields; none if there is no such command."""
    return _options_of(COMMANDS[command]) if command in COMMANDS else {}


def _options_of(settings: Any, prefix: str = "") -> dict[str, Option]:
    """Returns the options of a dataclass; those of `hosts` are named `hosts.count` and so on."""
    by_name = {}
    for field in fields(settings):
        kind, name = _plain(field.type), prefix + field.name
        if is_dataclass(kind):
            by_name |= _options_of(kind, f"{name}.")
        by_name[name] = Option(
            _plain(get_args(kind)[0]) if get_origin(kind) is tuple else kind,
            get_origin(kind) is tuple,
            field.default is MISSING and field.default_factory is MISSING,
            tyro.conf.Positional in getattr(field.type, "__metadata__", ()),
        )
    return by_name


def _plain(kind: Any) -> Any:
    """Returns a type without its annotations, and without None."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _plain(next(part for part in get_args(kind) if part is not type(None)))
    return kind


def check_command(argv: list[str]) -> None:
    """Checks that the first word, unless an option, is a command.

    Raises:
        ArtifactError: if it is not; the message offers near matches.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        near = difflib.get_close_matches(argv[0], COMMANDS)
        offer = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ArtifactError(f"There is no command {argv[0]!r}.{offer} `mswitch --help` lists all.")


def overview() -> Iterator[str]:
    """Yields the lines of `mswitch --help`: all commands by group, each in its first sentence."""
    yield from ("usage: mswitch COMMAND [OPTIONS]", "")
    for paragraph in (DESCRIPTION, BEGIN):
        yield from (*textwrap.wrap(paragraph, WIDTH), "")
    for group, commands in GROUPS.items():
        yield f"{group}:"
        for name, kind in commands.items():
            sentence = (kind.__doc__ or "").partition("\n\n")[0]
            yield from textwrap.wrap(sentence, WIDTH, initial_indent=f"  {name:12}",
                                     subsequent_indent=" " * 14)  # fmt: skip
        yield ""


def example(name: str) -> list[str]:
    """Returns the lines of a command that may be typed so."""
    words = COMMANDS[name].example
    return broken(f"  mswitch {name} {words}", WIDTH, " --", " \\\n    ").splitlines()


def parse(argv: list[str]) -> Any:
    """Returns a command's arguments.

    Exits with help if that is asked for, an example at its end, and with a usage message if the
    arguments cannot be parsed.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print_lines(*overview())
        raise SystemExit(0 if argv else 2)
    commands = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items()]
    union: Any = functools.reduce(operator.or_, commands)
    # Without: each option that may be left out offers Python's None as a value.
    config = (tyro.conf.DisallowNone,)
    shown = TextIOWrapper(BytesIO(), sys.stdout.encoding, write_through=True)
    try:
        with redirect_stdout(shown):
            return tyro.cli(union, prog="mswitch", args=argv, config=config)
    except SystemExit as ended:
        shown.seek(0)
        for line in shown.read().splitlines():  # tyro leaves a description as long as it is
            print_lines(*(textwrap.wrap(line, WIDTH) if line[:1].isalpha() else [line]))
        if ended.code == 0:
            print_lines("", "example:", *example(argv[0]))
        raise


def split_beam_options(argv: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Splits the command line at the first lone `--` into mswitch's options and Beam's."""
    if "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], tuple(argv[at + 1 :])


def option_of(word: str) -> str:
    """Returns the option that a word begins, such as `--crawl-cache`; "" for a value."""
    return word.partition("=")[0].replace("_", "-") if word.startswith("--") else ""


def check_repeated(argv: list[str]) -> None:
    """Checks that no option of one value is given twice; those of several are merged.

    Raises:
        ArtifactError: if one is.
    """
    names = [name.removeprefix("--") for name in map(option_of, argv) if name]
    for field, option in options(*argv[:1]).items():
        name = field.replace("_", "-")
        if names.count(name) > 1 and not option.takes_several:
            raise ArtifactError(
                f"{argv[0]} was given --{name} {names.count(name)} times; give it once."
            )


def merge_repeated(argv: list[str]) -> list[str]:
    """Joins the values of a repeated option: `--set a --set b` becomes `--set a b`.

    Without this the parser would silently drop all but the last.
    """
    command, options = argv[:1], argv[1:]
    values: dict[str, list[str]] = {"": []}
    current = values[""]
    for word in options:
        if name := option_of(word):
            _, separator, value = word.partition("=")
            current = values.setdefault(name, [])
            current += [value] if separator else []
        else:
            current.append(word)
    names = [name for name in map(option_of, options) if name]
    if len(names) == len(set(names)):
        return argv
    return command + [
        word for name, words in values.items() for word in ([name] * bool(name) + words)
    ]


def check_values(argv: list[str]) -> None:
    """Checks that no option lacks its values or has an empty one, as of a shell's unset variable.

    Of an option of several values the parser would take none.

    Raises:
        ArtifactError: if one does or has.
    """
    known = options(*argv[:1])
    for option, value in itertools.pairwise([*argv, "--end"]):
        name, separator, own = option.partition("=")
        if name.startswith("--") and (own if separator else value) == "":
            raise ArtifactError(f"{argv[0]} was given {name} with an empty value; write one.")
        field = known.get(_field_of(name))
        if field and field.kind is not bool and not separator and option_of(value):
            raise ArtifactError(f"{argv[0]} was given {name} without a value; write one after it.")


def check_words(argv: list[str]) -> None:
    """Checks that each option is the command's, each word has an option, each value is of its kind.

    Options of other tools, mistyped ones, and a word where an option belongs, are answered with
    what to write.

    Raises:
        ArtifactError: if a word is one of these.
    """
    if not (known := options(*argv[:1])):
        return
    command, has_word = argv[0], any(option.is_positional for option in known.values())
    if len(argv) > 1 and not argv[1].startswith("-") and not has_word:
        option = "--recipe" if "recipe" in known else f"its option (`mswitch {command} --help`)"
        raise ArtifactError(f"{command} was given {argv[1]!r} alone; write {option} before it.")
    option = ""  # whose value a word without one is
    for word, following in itertools.pairwise([*argv, ""]):
        name = _field_of(word)
        option = name or option
        value = (word.partition("=")[2] or following) if name else word
        if name and name not in known and "overrides" in known and name in SYNONYMS:
            raise ArtifactError(
                f"{command} was given --{name.replace('_', '-')}, which a recipe sets; write "
                f"--set {SYNONYMS[name]}."
            )
        # `--no-remedies` takes an option back, and `--cache.directory` is a field of a field.
        is_known = name.removeprefix("no_").partition(".")[0] in known
        if name and not is_known and (near := difflib.get_close_matches(name, known, 1, 0.75)):
            raise ArtifactError(
                f"{command} has no option --{name.replace('_', '-')}. Did you mean "
                f"--{near[0].replace('_', '-')}?"
            )
        field = known.get(option)
        if name and field and field.choices and value not in field.choices:
            raise ArtifactError(
                f"{command} was given --{name.replace('_', '-')} {value}; write one of "
                f"{', '.join(field.choices)}."
            )
        is_value = field and field.takes_several == (not name)
        if field and is_value and field.kind is int and not WHOLE_NUMBER.fullmatch(value):
            raise ArtifactError(
                f"{command} was given --{option.replace('_', '-')} {value}; write a whole number"
                f"{_in_digits(value)}."
            )


def check_required(argv: list[str]) -> None:
    """Checks that nothing is missing which a command cannot run without, unless help is asked for.

    Raises:
        ArtifactError: if an option is, or the word that a command takes without one.
    """
    known = options(*argv[:1])
    if not known or not {"-h", "--help"}.isdisjoint(argv):
        return
    flags = {name for name, option in known.items() if option.kind is bool}
    words = [word for word in argv if _field_of(word).removeprefix("no_") not in flags]
    is_word_alone = any(
        not option_of(following) and (not option_of(word) or "=" in word)
        for word, following in itertools.pairwise(words)
    )
    given, missing = {_field_of(word) for word in words}, []
    for name, option in known.items():
        if option.is_needed and option.is_positional:
            missing += [] if is_word_alone else [name.upper()]
        elif option.is_needed and name not in given:
            missing.append(f"--{name.replace('_', '-')}")
    if missing:
        raise ArtifactError(
            f"{argv[0]} needs {', '.join(missing)}; `mswitch {argv[0]} --help` shows what to give."
        )


def _field_of(word: str) -> str:
    """Returns the field that a word's option sets, such as `crawl_cache`; "" for a value."""
    return option_of(word).removeprefix("--").replace("-", "_")


def _in_digits(value: str) -> str:
    """Returns the number that a value such as 32k means, as an example; else nothing."""
    if number := re.fullmatch(r"([0-9]+)([kKmM])", value):
        return f", such as {int(number[1]) * (1_000 if number[2] in 'kK' else 1_000_000)}"
    return ""


def with_home(argv: list[str]) -> list[str]:
    """Returns the words with `~` as the home directory where a shell leaves it, as in --out=~/x."""
    home = str(Path.home())
    return [
        (HOME_OF_SENTENCE if " " in word else HOME).sub(lambda match: (match[1] or "") + home, word)
        for word in argv
    ]


def check_paths(name: str, command: Any) -> None:
    """Checks that no object-store address was given for a local path.

    `Path("gs://bucket/run")` would name a directory `gs:` in the working directory.

    Args:
        name: name of the command.
        command: arguments of the command.

    Raises:
        ArtifactError: if a path is an object-store address.
    """
    for path in paths_in(command):
        if SCHEME.fullmatch(path.parts[0] if path.parts else ""):
            raise ArtifactError(
                f"{name} was given {str(path).replace(':/', '://', 1)} where it reads or writes on "
                "this machine; name a path here, and copy to or from the store yourself."
            )


def paths_in(value: Any) -> Iterator[Path]:
    """Yields every path among a command's arguments."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from paths_in(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from paths_in(getattr(value, field.name))


def check_no_beam_option(own: list[str]) -> None:
    """Checks that no option of Beam stands before `--`, where it would be unknown.

    Raises:
        ArtifactError: if one does.
    """
    fields_of = options(*own[:1])
    if "beam" not in fields_of:
        return
    known = {name.replace("_", "-") for name in fields_of} | {"help"}
    given = [word.partition("=")[0] for word in own if word.startswith("--")]
    unknown = [name for name in given if option_of(name).removeprefix("--") not in known]
    of_beam = beam_options() if unknown else []
    if name := next((name for name in unknown if name in of_beam), None):
        raise ArtifactError(
            f"{name} is an option of Beam and was given to {own[0]} itself; write it at the end, "
            f"after a lone --: mswitch {own[0]} ... -- {name}=..."
        )


def beam_options() -> list[str]:
    """Returns the names of Beam's options, such as `--runner`.

    They are read from Beam's source, as its import takes seconds.
    """
    package = importlib.util.find_spec("apache_beam")
    assert package  # mswitch requires it
    source = Path(str(package.origin)).parent / "options" / "pipeline_options.py"
    return re.findall(r"""['"](--[\w-]+)['"]""", source.read_text(encoding="utf-8"))


def with_beam_options(name: str, command: Any, beam: tuple[str, ...]) -> Any:
    """Returns the command with Beam options.

    Raises:
        ArtifactError: if the command runs no Beam job.
    """
    if not hasattr(command, "beam"):
        names = (word.partition("=")[0] for word in beam if word.startswith("--"))
        raise ArtifactError(
            f"Beam options ({' '.join(names)}) were given to {name}, which runs no Beam job; "
            "only clean, score, select, withdraw and tokenize take options after --."
        )
    return replace(command, beam=beam)
