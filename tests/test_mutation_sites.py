"""Changed places of the product: which, how, and where another tree has them."""

import ast

import pytest
from mutation_sites import Row, draw, find, places_of

SOURCE = '''"""A module of 3 words."""

LIMIT = 3
NAMES: tuple[str, ...] = ("a", "two words")


class Table:
    """A table."""

    size: int = 1

    def rows(self, äußere: list[int], more: bool = False) -> list[int]:
        """Returns 5 rows."""
        if äußere and not more:
            check(äußere[1:], f"{LIMIT + 1} rows")
        if len(äußere) > LIMIT:
            raise ValueError("unknown")
        return [row + 1 for row in äußere if row]
'''
CHANGES = {
    ("number", "3", "4", "<module>"),
    ("string", "'a'", "'a_'", "<module>"),
    ("number", "1", "2", "Table"),
    ("truth", "False", "True", "Table.rows"),
    ("branch", "äußere and (not more)", "not (äußere and (not more))", "Table.rows"),
    ("logic", "äußere and (not more)", "äußere or not more", "Table.rows"),
    ("not", "not more", "more", "Table.rows"),
    ("statement", "check(äußere[1:], f'{LIMIT + 1} rows')", "pass", "Table.rows"),
    ("number", "1", "2", "Table.rows"),
    ("branch", "len(äußere) > LIMIT", "not len(äußere) > LIMIT", "Table.rows"),
    ("comparison", "len(äußere) > LIMIT", "len(äußere) >= LIMIT", "Table.rows"),
    ("statement", "raise ValueError('unknown')", "pass", "Table.rows"),
    ("return", "return [row + 1 for row in äußere if row]", "return None", "Table.rows"),
    ("arithmetic", "row + 1", "row - 1", "Table.rows"),
    ("branch", "row", "not row", "Table.rows"),
}


def test_operators_change_code_in_their_place_alone_and_leave_out_prose():
    places = list(places_of("data/table.py", SOURCE))
    assert {place.site[3:7] for place in places} == CHANGES
    assert len(places) == len(CHANGES) + 1  # `1` of the slice and of the sum
    for place in places:
        lines = zip(SOURCE.splitlines(), place.mutant().splitlines(), strict=True)
        differing = [n for n, (before, after) in enumerate(lines, 1) if before != after]
        assert differing == [place.site.line]
        assert ast.unparse(ast.parse(place.mutant())) != ast.unparse(ast.parse(SOURCE))


@pytest.mark.parametrize(
    "moved, change, found",
    [
        ("data/table.py", ("class Table", "# more lines\n\n\nclass Table"), "same place"),
        ("eval/other.py", ("class Table", "class Rows"), "same function"),
        ("data/table.py", ("def rows", "def lines"), "same file"),
        ("eval/other.py", ("def rows", "def lines"), "same text"),
        ("data/table.py", ("row + 1", "row + LIMIT"), "gone"),
    ],
)
def test_a_site_is_found_again(tmp_path, moved, change, found):
    for folder, file, source in (
        ("before", "data/table.py", SOURCE),
        ("after", moved, SOURCE.replace(*change)),
    ):
        path = tmp_path / folder / file
        path.parent.mkdir(parents=True)
        path.write_text(source, encoding="utf-8")
    rows = draw(tmp_path / "before", seed=1, count=9)
    assert len({(row.site.file, row.site.line) for row in rows}) == 9
    site = next(p.site for p in places_of("data/table.py", SOURCE) if p.site.before == "row + 1")
    (row,) = find([Row("1", site)], tmp_path / "after")
    assert row.found == found
    if found != "gone":
        assert (row.site.file, row.site.before) == (moved, "row + 1")
