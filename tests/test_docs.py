"""Documents name only what exists: every relative link, every path in code marks, every setting."""

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.recipe.named import get

ROOT = Path(__file__).parents[1]
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
FOLDERS = {str(folder) for name in TRACKED for folder in Path(name).parents}
DOCUMENTS = [
    name
    for name in TRACKED
    if re.fullmatch(r"(README|CONTRIBUTING|SECURITY|CHANGELOG)\.md|docs/([^/]+/)?[^/]+\.md", name)
    and not re.fullmatch(r"docs/results/[^/]+/.*", name)
]
TOP = sorted({Path(name).parts[0] for name in TRACKED if "/" in name})


def links(text: str) -> list[str]:
    """Returns the targets of Markdown links that are files of this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def paths(text: str) -> list[str]:
    """Returns paths in code marks that begin with a folder of the repository."""
    marked = re.findall(r"`([\w./*=-]+)`", text)
    begins = re.compile(rf"({'|'.join(map(re.escape, TOP))})/")
    return [path for path in marked if begins.match(path)]


def exists(path: str) -> bool:
    """Returns whether a tracked file or folder has this path."""
    pattern = re.compile(re.escape(path.rstrip("/")).replace(r"\*", "[^/]*"))
    return any(pattern.fullmatch(name) for name in (*TRACKED, *FOLDERS))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document: str):
    folder = (ROOT / document).parent
    missing = [
        link for link in links((ROOT / document).read_text()) if not (folder / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_in_code_marks_exists(document: str):
    assert [path for path in paths((ROOT / document).read_text()) if not exists(path)] == []


def test_what_is_missing_is_found():
    text = (
        "[a](no/such.md), `model/no_such.py`, `other.py`, `model/switch/`, [b](https://x.example)"
    )
    assert links(text) == ["no/such.md"]
    assert [path for path in paths(text) if not exists(path)] == ["model/no_such.py"]


def fields(value: object, before: str = "") -> set[str]:
    """Returns the dotted names of an object's fields, and of the objects in them."""
    if not dataclasses.is_dataclass(value):
        return set()
    names = {before + field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {*names}.union(*(fields(inner, f"{name}.") for name, inner in names.items()))


def test_every_setting_that_is_written_somewhere_exists():
    known = fields(get("switch-laptop"))
    read = [name for name in TRACKED if re.match(r"(pipeline|experiments)/.*\.py$", name)]
    written = {
        (name, setting)
        for name in (*DOCUMENTS, *read)
        for setting in re.findall(
            r"(?<![\w.])((?:model|optimizer|lengths)(?:\.[a-z_]+)+)=", (ROOT / name).read_text()
        )
    }
    assert len(written) > 20
    assert {(name, setting) for name, setting in written if setting not in known} == set()
