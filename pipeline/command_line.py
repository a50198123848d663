"""The command line: commands by name, words parsed to arguments, words that cannot be meant."""

import difflib
import functools
import importlib.util
import operator
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

import tyro
from tyro._errors import (
    BadValue,
    InstantiationFailure,
    InvalidChoice,
    MissingArgs,
    ParseErrorEvent,
    on_parse_error,
)

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
from pipeline.fields import SYNONYMS, Overrides
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
SHELLS = ("bash", "zsh", "tcsh", "fish")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")  # first part of an address parsed as a path

DESCRIPTION = """Text in up to 101 languages goes in; out come models for these languages, dense
(mT5) and sparse (Switch Transformer), and a report of what sparsity gains in each."""
BEGIN = """Begin with `clean`, on text or web pages of your own, and give each command that the one
before ends with; or with `demo`, which does all of it on small text. `mswitch COMMAND --help` shows
the options of a command and an example."""
WIDTH = 80


def options_of(command: str) -> dict[str, bool]:
    """Returns the options of a command: whether each takes several; none of no such command."""
    return options(COMMANDS[command]) if command in COMMANDS else {}


def options(settings: Any, prefix: str = "--") -> dict[str, bool]:
    """Returns the options of a dataclass, such as `--hosts.count`: whether each takes several."""
    known = {}
    for field in fields(settings):
        kind, said = _plain(field.type), getattr(field.type, "__metadata__", ())
        name = "set" if field.type is Overrides else field.name
        option = prefix + name.replace("_", "-")
        if is_dataclass(kind):
            known |= options(kind, f"{option}.")
        elif tyro.conf.Positional not in said and tyro.conf.Suppress not in said:
            known[option] = get_origin(kind) is tuple
    return known


def _plain(kind: Any) -> Any:
    """Returns a type without its annotations, and without None."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return kind


def check_command(argv: list[str]) -> None:
    """Checks that the first word, unless an option, is a command.

    Raises:
        ArtifactError: if it is not; the message offers near matches.
    """
    if argv[:1] == ["--tyro-print-completion"] and argv[1:] not in ([name] for name in SHELLS):
        raise ArtifactError(f"{argv[0]} needs a shell; write one of {', '.join(SHELLS)} after it.")
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

    Exits with help if that is asked for, an example at its end.

    Raises:
        ArtifactError: if the arguments cannot be meant.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print_lines(*overview())
        raise SystemExit(0 if argv else 2)
    argv = join_repeated(argv)
    commands = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items()]
    union: Any = functools.reduce(operator.or_, commands)
    # Without: each option that may be left out offers Python's None as a value.
    config = (tyro.conf.DisallowNone,)
    shown = TextIOWrapper(BytesIO(), sys.stdout.encoding, write_through=True)
    try:
        with redirect_stdout(shown), on_parse_error(functools.partial(refuse_words, argv)):
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


def refuse_words(argv: list[str], event: ParseErrorEvent) -> NoReturn:
    """Turns what the parser does not understand into the sentence of its command.

    Args:
        argv: the command line.
        event: what the parser found.

    Raises:
        ArtifactError: always.
    """
    name = argv[0] if argv[0] in COMMANDS else "mswitch"
    see = f"`mswitch {name} --help`" if name in COMMANDS else "`mswitch --help`"
    unknown = getattr(event, "tokens", None) or getattr(event, "unrecognized_tokens", ())
    if isinstance(event, BadValue) and event.argument.is_positional():
        own = {name.replace("--no-", "--") for name in options_of(name)}  # another is in its place
        unknown = [
            word
            for word in argv[1:]
            if option_of(word) and option_of(word).replace("--no-", "--") not in own
        ]
    match event:
        case _ if unknown:
            said = _unknown(name, next(filter(option_of, unknown), unknown[0]), see)
        case MissingArgs(missing_arguments=missing):
            needed = (_name_of(argument.arg) for argument in missing)
            said = f"{name} needs {', '.join(needed)}; {see} shows what to give."
        case BadValue(argument=argument):
            said = f"{name} was given {_name_of(argument)} without a value; write one after it."
        case InvalidChoice(argument=argument, value=value, choices=choices):
            declared = get_args(_plain(argument.field.type)) or choices  # theirs have no order
            words = ", ".join(map(str, declared))
            said = f"{name} was given {_name_of(argument)} {value}; write one of {words}."
        case InstantiationFailure(message=said, argument=argument):
            if {"INT", "FLOAT"} & {
                *re.findall("[A-Z]+", str(argument and argument.lowered.metavar))
            }:
                said = f"{name} was given {_name_of(argument)} {_no_number(argv, argument)}."
        case _:  # a kind that a later parser has
            said = f"{name} was given words that it does not understand; {see} shows what it takes."
    raise ArtifactError(said)


def _name_of(argument: Any) -> str:
    """Returns the option of the parser's argument, or a word's name in capitals."""
    name = argument.display_name().split("/")[0]
    return name if name.startswith("-") else name.upper()


def _no_number(argv: list[str], argument: Any) -> str:
    """Returns a value of an option that should be a number and is none, and what to write."""
    number = int if "INT" in str(argument.lowered.metavar) else float
    option, value = "", ""
    for word in argv:
        option, value = (
            option_of(word) or option,
            word.partition("=")[2] if option_of(word) else word,
        )
        if option == _name_of(argument) and value and not _is(number, value):
            break
    kind = "whole number" if number is int else "number"
    factor = {"k": 1_000, "m": 1_000_000}.get(value[-1:].lower())
    like = f", such as {int(value[:-1]) * factor}" if factor and value[:-1].isdecimal() else ""
    return f"{value}; write a {kind}{like}"


def _is(number: type[int | float], value: str) -> bool:
    try:
        number(value)
    except ValueError:
        return False
    return True


def _unknown(command: str, word: str, see: str) -> str:
    """Returns the sentence about a word that a command does not have."""
    option = option_of(word)
    if not option:
        write = "--recipe" if "--recipe" in options_of(command) else f"its option ({see})"
        return f"{command} was given {word!r} alone; write {write} before it."
    known = options_of(command)
    field = option.removeprefix("--").replace("-", "_")
    if "--set" in known and field in SYNONYMS:
        return f"{command} was given {option}, which a recipe sets; write --set {SYNONYMS[field]}."
    if hasattr(COMMANDS.get(command), "beam") and option in {*map(option_of, beam_options())}:
        written = word.partition("=")[0]
        return (
            f"{written} is an option of Beam and was given to {command} itself; write it at the "
            f"end, after a lone --: mswitch {command} ... -- {written}=..."
        )
    names = [name.removeprefix("--") for name in known]
    near = [f"--{name}" for name in names if name.startswith(option.lstrip("-"))]
    near = near or [
        f"--{name}" for name in difflib.get_close_matches(option.lstrip("-"), names, 1, 0.75)
    ]
    do = f". Did you mean {' or '.join(near)}?" if near else f"; {see} lists what there is."
    return f"{command} has no option {option}{do}"


def option_of(word: str) -> str:
    """Returns the option that a word begins, such as `--crawl-cache`; "" for a value."""
    is_option = re.match(r"--?[a-zA-Z]", word)
    return word.partition("=")[0].replace("_", "-") if is_option else ""


def join_repeated(argv: list[str]) -> list[str]:
    """Joins the values of a repeated option: `--set a --set b` becomes `--set a b`.

    Without this the parser would silently drop all but the last. It also takes empty values, as of
    a shell's unset variable, and none for an option of several.

    Raises:
        ArtifactError: if an option of one value is repeated, or an option has an empty value or
            none.
    """
    command, known = argv[0], options_of(argv[0])
    given: dict[str, list[list[str]]] = {"": [[]]}
    name = ""
    for word in argv[1:]:
        if option_of(word):
            name = option_of(word)
            given.setdefault(name, []).append([word])
        else:
            given[name][-1].append(word)
    joined = [command, *given.pop("")[0]]
    for name, times in given.items():
        if len(times) > 1 and known.get(name) is False:
            raise ArtifactError(f"{command} was given {name} {len(times)} times; give it once.")
        for first, *values in times:
            if first.partition("=")[1:] == ("=", "") or "" in values:
                raise ArtifactError(f"{command} was given {name} with an empty value; write one.")
            if known.get(name) and not values and "=" not in first:
                raise ArtifactError(
                    f"{command} was given {name} without a value; write one after it."
                )
        (first, *values), *others = times
        joined += [first, *values]
        for again, *values in others:
            joined += [again.partition("=")[2]] * ("=" in again) + values
    return joined


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
