"""Finds the places of the product where one small change should make a test fail, and draws some.

A site is one operator, constant, condition, returned value or statement. Its mutant is the source
with this one place changed, the rest of the file as it stands:

    comparison  a < b -> a <= b      number  3 -> 4             return     return x -> return None
    arithmetic  a + b -> a - b       truth   True -> False      statement  check(x) -> pass
    logic       a and b -> a or b    string  "name" -> "name_"  statement  raise E -> pass
    not         not a -> a           branch  if c -> if not c

Left out is what no test should look at: docstrings, annotations, messages (strings with spaces, all
strings of an error), `__all__`, `__repr__`, logging, and what stands within an f-string, whose
columns Python 3.11 does not report.

A list of sites is a CSV file. In another tree a site is found again by file, qualified function and
text of its line, then by the function's name, then by the text; what is `gone` a person fills in.
"""

import ast
import copy
import csv
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("data", "model", "eval", "pipeline")
SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Add,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
EXACT = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # swapped, they are negated
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NAME = re.compile(r"[\w./:*-]+")
QUIET = ("logging", "logger", "log", "warnings", "print")


class Site(NamedTuple):
    """A place of the product and its change.

    Attributes:
        file: path below the root of the tree.
        line: line of the place; 1 is the first.
        column: column of the place in bytes; 0 is the first.
        operator: kind of change.
        before: code of the place on one line.
        after: what takes its place.
        function: qualified name of the function or class around it, `<module>` outside of any.
        text: line of the source without indentation.
    """

    file: str
    line: int
    column: int
    operator: str
    before: str
    after: str
    function: str
    text: str


class Around(NamedTuple):
    """What surrounds a place.

    Attributes:
        names: names of the classes and functions around it, outermost first.
        lines: first and last line of its statement without the body.
        scope: first and last line of the function or class whose tests are its own, if it runs at
            import; (0, 0) in a function or at a module's level.
        at_import: whether it runs when the module is imported.
        assigned: names that its statement assigns at import.
        is_message: whether its strings are the message of an error.
    """

    names: tuple[str, ...] = ()
    lines: tuple[int, int] = (0, 0)
    scope: tuple[int, int] = (0, 0)
    at_import: bool = True
    assigned: tuple[str, ...] = ()
    is_message: bool = False


class Place(NamedTuple):
    """A site, what surrounds it, and the whole source of its mutant."""

    site: Site
    around: Around
    mutant: Callable[[], str]


def places(tree: Path) -> Iterator[Place]:
    """Yields every place of the product, in order of files and lines."""
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.py")):
            yield from places_of(path.relative_to(tree).as_posix(), path.read_text("utf-8"))


def places_of(file: str, source: str) -> Iterator[Place]:
    """Yields the places of one file, in order of lines."""
    module, lines = ast.parse(source), source.splitlines()
    found = []
    for around, node, operator, changed in _changes(module, Around()):
        site = Site(
            file, node.lineno, node.col_offset, operator, ast.unparse(node), ast.unparse(changed),
            ".".join(around.names) or "<module>", lines[node.lineno - 1].strip(),
        )  # fmt: skip
        mutant = lambda node=node, changed=changed: spliced(source, node, changed)  # noqa: E731
        found.append(Place(site, around, mutant))
    yield from sorted(found, key=lambda place: (place.site.line, place.site.column))


def spliced(source: str, node: ast.expr | ast.stmt, changed: ast.expr | ast.stmt) -> str:
    """Returns the source with one node changed; all other bytes are as they were."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    begin = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    code = ast.unparse(changed)
    if isinstance(changed, ast.expr) and not isinstance(changed, ast.Constant):
        code = f"({code})"
    return (source.encode()[:begin] + code.encode() + source.encode()[end:]).decode()


Change = tuple[Around, ast.expr | ast.stmt, str, ast.expr | ast.stmt]


def _changes(node: ast.AST, around: Around) -> Iterator[Change]:
    """Yields surroundings, code, operator and changed code of every place at or below a node."""
    if _is_left_out(node):
        return
    around = _within(node, around)
    if isinstance(node, ast.expr | ast.stmt):
        for changed in _changed(node, around):
            yield around, *changed
    inner = _inner(node, around)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_comment") or (
            isinstance(node, ast.Assign | ast.AnnAssign) and field in ("target", "targets")
        ):
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield from _changes(part, inner if field == "body" else around)


def _is_left_out(node: ast.AST) -> bool:
    """Whether no test should look at a node."""
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=function)):
            while isinstance(function, ast.Attribute):
                function = function.value
            return isinstance(function, ast.Name) and function.id in QUIET
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.FunctionDef(name="__repr__" | "__str__"):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Call(func=ast.Name(id="TypeVar" | "NewType" | "namedtuple")):
            return True
        case ast.Subscript(slice=ast.Tuple(elts=[_, ast.Constant(value=str())])):
            return True  # a type of jaxtyping
    return False


def _within(node: ast.AST, around: Around) -> Around:
    """Returns what surrounds the header of a node."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            around = around._replace(names=(*around.names, node.name))
            if around.at_import:
                around = around._replace(scope=(node.lineno, node.end_lineno or 0))
        case ast.Assign() | ast.AnnAssign() if around.at_import:
            names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
            stored = [part.id for part in names if isinstance(part.ctx, ast.Store)]
            around = around._replace(assigned=tuple(stored))
        case ast.Raise():
            around = around._replace(is_message=True)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name.endswith("Error"):
            around = around._replace(is_message=True)
        case ast.match_case():
            around = around._replace(lines=(node.pattern.lineno, node.body[0].lineno - 1))
    if isinstance(node, ast.stmt):
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        last = node.end_lineno or node.lineno
        if body:
            first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
            last = max(node.lineno, first.lineno - 1)
        around = around._replace(lines=(node.lineno, last))
    return around


def _inner(node: ast.AST, around: Around) -> Around:
    """Returns what surrounds the body of a node."""
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        return around._replace(at_import=False, scope=(0, 0), assigned=())
    return around


def _changed(node: ast.expr | ast.stmt, around: Around) -> Iterator[tuple]:
    """Yields places, operators and changed code of one node."""
    match node:
        case ast.Compare(ops=operators):
            for number, operator in enumerate(operators):
                changed = copy.deepcopy(node)
                changed.ops[number] = SWAPPED[type(operator)]()
                yield node, "comparison", changed
        case ast.BinOp(left=left, op=operator, right=right):
            if not any(map(_is_text, (left, right))):
                yield node, "arithmetic", ast.BinOp(left, SWAPPED[type(operator)](), right)
        case ast.AugAssign(target=target, op=operator, value=value):
            if not _is_text(value):
                changed = ast.AugAssign(target, SWAPPED[type(operator)](), value)
                yield node, "arithmetic", changed
        case ast.BoolOp(op=operator, values=values):
            yield node, "logic", ast.BoolOp(SWAPPED[type(operator)](), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, "not", operand
        case ast.Constant(value=bool(value)):
            yield node, "truth", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield node, "number", ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield node, "number", ast.Constant(2 * value or 1.0)
        case ast.Constant(value=str(value)) if NAME.fullmatch(value) and not around.is_message:
            yield node, "string", ast.Constant(value + "_")
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                yield node, "return", ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield node, "statement", ast.Pass()
    yield from _conditions(node)


def _conditions(node: ast.expr | ast.stmt) -> Iterator[tuple]:
    """Yields negated conditions of a node that no other operator negates."""
    tests = [node.test] if isinstance(node, ast.If | ast.While | ast.IfExp) else []
    for part in getattr(node, "generators", ()):
        tests += part.ifs
    for test in tests:
        is_negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        is_exact = isinstance(test, ast.Compare) and isinstance(test.ops[0], EXACT)
        if not (is_negated or is_exact):
            yield test, "branch", ast.UnaryOp(ast.Not(), test)


def _is_text(node: ast.expr) -> bool:
    """Whether a node is a literal text, which arithmetic only joins or formats."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


LIST = ("id", *Site._fields, "found", "equivalent")


class Row(NamedTuple):
    """A site of a list, its number, how it was found, and why its mutant changes nothing."""

    id: str
    site: Site
    found: str = ""
    equivalent: str = ""


def read_list(path: Path) -> list[Row]:
    """Returns the rows of a list."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = []
        for row in csv.DictReader(file):
            fields = {name: row[name] for name in Site._fields}
            site = Site(**fields | {name: int(row[name] or 0) for name in ("line", "column")})
            rows.append(Row(row["id"], site, row["found"], row["equivalent"]))
        return rows


def write_list(path: Path, rows: Iterable[Row]) -> None:
    """Writes a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(LIST)
        out.writerows([row.id, *row.site, row.found, row.equivalent] for row in rows)


def draw(tree: Path, seed: int, count: int) -> list[Row]:
    """Returns sites of lines that are drawn uniformly, one site per line, in random order."""
    lines: dict[tuple[str, int], list[Site]] = defaultdict(list)
    for place in places(tree):
        lines[place.site.file, place.site.line].append(place.site)
    generator = random.Random(seed)
    drawn = generator.sample(sorted(lines), count)
    sites = [generator.choice(lines[line]) for line in drawn]
    return [Row(f"{seed}-{number:03}", site, "drawn") for number, site in enumerate(sites, 1)]


def successor(site: Site, sites: list[Site]) -> tuple[Site | None, str]:
    """Returns the site of another tree that took the place of one, and how it was found."""
    same = [s for s in sites if s[3:6] == site[3:6] and s.text == site.text]
    name = site.function.rpartition(".")[2]
    for found, candidates in (
        ("same place", [s for s in same if (s.file, s.function) == (site.file, site.function)]),
        ("same function", [s for s in same if s.function.rpartition(".")[2] == name]),
        ("same file", [s for s in same if s.file == site.file]),
        ("same text", same if len(same) == 1 else []),
    ):
        if candidates:
            near = [
                (s.file != site.file, abs(s.line - site.line), abs(s.column - site.column), s)
                for s in candidates
            ]
            return min(near)[-1], found
    return None, "gone"


def find(rows: list[Row], tree: Path) -> Iterator[Row]:
    """Yields the rows with the sites of another tree; those `gone` keep the site that they had."""
    sites = [place.site for place in places(tree)]
    for row in rows:
        site, found = successor(row.site, sites)
        yield row._replace(site=site or row.site, found=found)
