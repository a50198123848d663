"""Each rule of `.ci/prose.py` finds its example and passes the sentence that replaces it."""

from pathlib import Path

import prose
import pytest


def phrases(source: str, name: str = "data/module.py") -> list[tuple[int, str]]:
    """Returns line and phrase of each finding in a file of this name."""
    found = prose.findings(prose.prose(Path(name), source))
    return [(line, phrase) for line, phrase, _ in found]


MESSAGE = 'raise ValueError(f"{n} files a shard were found, " "and the manifest says otherwise")'


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("Writes a checksum a shard.", "Writes a checksum per shard."),
        ("Prints pages a second.", "Prints pages per second."),
        ("Reads one file a language.", "Reads one file per language."),
        ("Takes 28 bytes a line.", "Takes 28 bytes per line."),
        ("Needs 16 GiB a device.", "Needs 16 GiB per device."),
        ("Scores two runs a side.", "Scores two runs per side."),
        ("Takes 30 ns a seed.", "Takes 30 ns per seed."),
        ("Stops once the runner tells the number.", "Stops once the runner reports the number."),
        ("Returns what the manifest says.", "Returns what the manifest records."),
        ("Checks a record that says which shard it is.", "Checks a record that names its shard."),
        ("Checks a count that no reader believes.", "Checks a count that no reader uses."),
        ("Orders fields as wanted.", "Orders fields by name."),
        ("Gives the mesh.", "Returns the mesh."),
        ("Says whether it is done.", "Returns whether it is done."),
        ("Has this process reach a store.", "Sets this process's store options."),
    ],
)
def test_a_rule_finds_its_breach_and_passes_the_mended_sentence(bad: str, good: str):
    assert len(phrases(f'"""{bad}"""')) == 1
    assert phrases(f'"""{good}"""') == []


def test_verbs_and_genitives_are_no_rates():
    for sentence in (
        "Runs a step of each language.",
        "Records a call, and calls a page once.",
        "Returns a window of a page.",
        "Checks what was asked and what was found.",
    ):
        assert phrases(f'"""{sentence}"""') == []


@pytest.mark.parametrize(
    ("source", "name", "found"),
    [
        (  # across lines, at its own line
            '"""A module.\n\nIt keeps one file\na shard.\n"""\n\n# Two runs\n# a side.\n',
            "data/module.py",
            [(3, "one file a shard"), (7, "Two runs a side")],
        ),
        (MESSAGE, "data/module.py", [(1, "files a shard"), (1, "manifest says")]),
        (MESSAGE, "tests/test_module.py", []),
        ("One file a shard.\n\n```\none file a shard\n```\n\n    one file a shard\n", "README.md",
         [(1, "One file a shard")]),  # code in Markdown is no prose
    ],
)  # fmt: skip
def test_a_phrase_is_found_where_prose_is(source, name, found):
    assert phrases(source, name) == found


def test_the_exit_status_says_if_there_is_a_finding(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prose, "tracked", lambda _: [tmp_path / "page.md"])
    (tmp_path / "page.md").write_text("One file per shard.")
    assert prose.main([]) == 0
    (tmp_path / "page.md").write_text("One file a shard.")
    assert prose.main([]) == 1
    assert "page.md:1: 'One file a shard'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        (
            "def pages(files):\n    return [one for one in files]",
            "pages = [page for page in files]",
        ),
        ("if found := search(text):\n    pass", "if match := search(text):\n    pass"),
        ("def rows(some):\n    pass", "def rows(pages):\n    pass"),
        ("def _resolved(arguments):\n    pass", "def resolved_recipe(arguments):\n    pass"),
        (
            "def asked():\n    pass",
            "class Claim:\n    @property\n    def asked(self):\n        pass",
        ),
    ],
)
def test_a_vague_name_is_found_in_the_product_and_in_no_test(bad: str, good: str):
    assert len(list(prose.vague_names(Path("data/module.py"), bad))) == 1
    assert list(prose.vague_names(Path("data/module.py"), good)) == []
    assert list(prose.vague_names(Path("tests/test_module.py"), bad)) == []
