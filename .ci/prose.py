"""Finds mechanical breaches of the writing rules (CONTRIBUTING.md) in code, names and documents.

    python .ci/prose.py              # all tracked files
    python .ci/prose.py data docs    # these files and folders

Checks docstrings, comments and messages of Python files, and the text of Markdown, templates and
the Makefile. In the product's packages it also checks the names of local values and of functions.
Code in Markdown and string literals in tests are not prose. Published reports under docs/results
are artifacts and stay as they were written. Prints one line per finding and exits with 1, or exits
with 0 where there is none.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


def _any_of(words: str) -> str:
    """Returns a pattern of any of these words."""
    return f"(?:{'|'.join(words.split())})"


UNIT = _any_of("""
address assignment batch block byte character chip choice chunk cluster column command core corpus
crawl day device directory document epoch example expert field file folder group head host hour id
identifier input item key language layer line machine manifest member microbatch minute module
month name number page pair parameter part partition pass piece pod process program question
record recipe report request requirement row rule run second section seed sentence shard side
slice source span stage step student table task test token transfer tree vocabulary window word
worker
""")
COUNTED = _any_of("""
array bar checksum client dataclass element entry entrie evaluation FLOP GPU microsecond millisecond
ms nat ns object operation package paragraph path reduction segmenter slot stream thread us weight
""")
THING = f"(?:{UNIT}|{COUNTED})(?:e?s)?"
THINGS = f"(?:{UNIT}|{COUNTED})e?s"
ALSO_VERBS = _any_of("runs calls records steps batches groups names requests reports tests")
ALSO_MORE = _any_of("longer more less larger smaller further other")
COUNT = r"(?:\d[\d.,]*|an?|one|two|three|four|five|six|eight|ten|several|many|few)"
ACTOR = _any_of("""
attempt batch beam cache checkpoint class code command compiler config engine evaluation exchange
expert file function graph header host identifier index job layer library loader loop machine
manifest mesh model module network op optimizer parser partition plan planner process program
reader recipe record router rule run runner schedule server shard shell stage step store table
tally test tool trace training worker writer XLA JAX Beam Grain CLD3 fastText langdetect
SentencePiece libtpu Dataflow Prism
""")
SPEAKS = (
    "(?:says?|said|tells?|told|believe[sd]?|knows?|knew|wants?|wanted|speaks?|spoke|hears?|heard)"
)

PACKAGES = ("data", "model", "eval", "pipeline")
VAGUE = ("found", "one", "some")
PARTICIPLE = re.compile(r"_*(?!embed|speed)[a-z]+ed|_*(?:found|given|told)")
RATE = "write 'per' for a rate"
SPEECH = "programs return, print, report, record, hold or assume"
NEGATION = "write 'is not a'"
FIRST_WORD = "begin with what the function does: Returns, Writes, Checks"
TRACE = "name what the software does, not how it was ordered"
LOCAL = "name a value by what it is, such as page, shard or match"
FUNCTION = "name a function by a verb phrase or by its result in full, such as resolved_recipe"


class Rule(NamedTuple):
    """What is looked for.

    Attributes:
        advice: what to write instead.
        pattern: matches the phrase.
        docstrings_only: whether the pattern is about the beginning of a docstring.
    """

    advice: str
    pattern: re.Pattern[str]
    docstrings_only: bool = False


def _words(pattern: str) -> re.Pattern[str]:
    """Compiles a pattern of whole words; a space in it matches a line break too."""
    return re.compile(rf"(?<![\w`])(?:{pattern})(?![\w`])".replace(" ", r"\s+"), re.IGNORECASE)


RULES = (
    Rule(RATE, _words(f"(?:{COUNT} (?:[\\w-]+ )?{THING}|(?!{ALSO_VERBS}){THINGS}) an? {UNIT}")),
    Rule(RATE, _words(f"(?:one|once|twice|[KMGT]i?B) an? {UNIT}")),
    Rule(TRACE, _words("as (?:asked|wanted)|(?:was|were|is) wanted|wanted (?:was|were)|wanted:")),
    Rule(SPEECH, _words(f"{ACTOR}s? {SPEAKS}")),
    Rule(SPEECH, _words("(?:says?|tells?|told|believes?) (?:whether|what|which|how|where|of)")),
    Rule(SPEECH, _words("believe[sd]?")),
    Rule(NEGATION, _words(rf"[\w`)]+(?<!there) (?:is|are|was|were) no (?!{ALSO_MORE})[\w-]+")),
    Rule(
        FIRST_WORD,
        re.compile(r"(?:Gives|Says|Tells|Believes|Knows|Asks|Has this|Lets)\b"),
        docstrings_only=True,
    ),
)


class Text(NamedTuple):
    """A piece of prose, the line at which it begins, and whether it is a docstring."""

    line: int
    text: str
    is_docstring: bool = False


def findings(texts: Iterable[Text]) -> list[tuple[int, str, str]]:
    """Returns line, phrase and advice of each breach, in order; of overlapping ones the first."""
    breaches: set[tuple[int, str, str]] = set()
    for text in texts:
        end = 0
        for start, phrase, advice in sorted(_matches(text), key=lambda match: match[0]):
            if start >= end:
                line = text.line + text.text.count("\n", 0, start)
                breaches.add((line, " ".join(phrase.split()), advice))
                end = start + len(phrase)
    return sorted(breaches)


def _matches(text: Text) -> Iterator[tuple[int, str, str]]:
    """Yields start, phrase and advice of all that any rule matches."""
    for rule in RULES:
        if not rule.docstrings_only:
            yield from (
                (m.start(), m.group(), rule.advice) for m in rule.pattern.finditer(text.text)
            )
        elif text.is_docstring and (first := rule.pattern.match(text.text)):
            yield 0, first.group(), rule.advice


def vague_names(path: Path, source: str) -> Iterator[tuple[int, str, str]]:
    """Yields line, name and advice of values and functions of the product with a vague name."""
    if path.suffix != ".py" or path.parts[0] not in PACKAGES:
        return
    tree = ast.parse(source)
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    fields = {
        part.target for node in classes for part in node.body if isinstance(part, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        match node:
            case _ if node in fields:  # it may be a name of a file's column
                pass
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.arg(arg=name)
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
            ) if name in VAGUE:
                yield node.lineno, name, LOCAL
            case ast.FunctionDef(name=name) if PARTICIPLE.fullmatch(name):
                marks = " ".join(map(ast.unparse, node.decorator_list))
                if "property" not in marks and "contextmanager" not in marks:
                    yield node.lineno, name, FUNCTION


def prose(path: Path, source: str) -> Iterator[Text]:
    """Yields the prose of a file."""
    if path.suffix == ".py":
        yield from _comments(source)
        yield from _strings(ast.parse(source), messages="tests" not in path.parts)
    elif path.suffix == ".md":
        fenced = re.compile(
            r"^```.*?^```|^ {4}.*?$|`[^`\n]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL
        )
        yield Text(1, fenced.sub(lambda m: "`" + "\n" * m.group().count("\n") + "`", source))
    else:
        yield Text(1, re.sub(r"^#", " ", source, flags=re.MULTILINE))


def _comments(source: str) -> Iterator[Text]:
    """Yields comments; those on consecutive lines are one text."""
    lines: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if lines and token.start[0] != last + 1:
                yield Text(last - len(lines) + 1, "\n".join(lines))
                lines = []
            lines.append(token.string.lstrip("#"))
            last = token.start[0]
    if lines:
        yield Text(last - len(lines) + 1, "\n".join(lines))


def _strings(tree: ast.Module, messages: bool) -> Iterator[Text]:
    """Yields docstrings, and with `messages` all other strings of more than one word."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = list(ast.walk(tree))
    docstrings = {
        id(value): value
        for node in nodes
        if isinstance(node, documented)
        and ast.get_docstring(node) is not None
        and isinstance(first := node.body[0], ast.Expr)
        and isinstance(value := first.value, ast.Constant)
    }
    for value in docstrings.values():
        yield Text(value.lineno, str(value.value), is_docstring=True)
    for node in nodes if messages else ():
        match node:
            case ast.JoinedStr(values=values):
                parts = [part.value if isinstance(part, ast.Constant) else "`" for part in values]
                yield Text(node.lineno, "".join(map(str, parts)))
            case ast.Constant(value=str(text)) if id(node) not in docstrings and " " in text:
                yield Text(node.lineno, text)


def tracked(arguments: list[str]) -> list[Path]:
    """Returns the tracked files under these paths that hold prose of this repository."""
    names = subprocess.run(
        ["git", "ls-files", "--", *arguments], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        path
        for path in map(Path, names)
        if (path.suffix in (".py", ".md", ".j2", ".toml") or path.name in ("Makefile", "run"))
        and not re.match(r"docs/results/.*/", str(path))
        and path.name not in ("prose.py", "test_prose.py")  # they quote what they look for
    ]


def main(arguments: list[str]) -> int:
    """Prints every finding in these files; returns 1 where there is one."""
    count = 0
    for path in tracked(arguments):
        source = path.read_text(encoding="utf-8")
        breaches = [*findings(prose(path, source)), *vague_names(path, source)]
        for line, phrase, advice in sorted(breaches):
            print(f"{path}:{line}: {phrase!r}: {advice}")
        count += len(breaches)
    if count:
        print(f"{count} findings; the rules are in CONTRIBUTING.md.", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
