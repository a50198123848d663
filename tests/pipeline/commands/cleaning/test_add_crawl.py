"""A crawl that is added to a corpus gives the corpus of cleaning both inputs at once."""

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from contents import contents
from forked import CONTEXT
from growing_input import SMALL, meeting_pages, replaced_pages, rows_of, write_archives
from small_corpora import texts_of

from data.errors import DataError
from data.languages import all_languages, get
from pipeline.artifacts import claim, digest_of_manifest, finish
from pipeline.command_line import parse
from pipeline.commands.clean import Clean
from pipeline.corpus.clean import adding_command, cleaning
from pipeline.corpus.onto import delta, verdicts
from pipeline.corpus.onto.verdicts import KINDS, PAGES, TALLY, GrowthFiles

WITH_SHARE = ("mswitch-web", "demo")  # rules that hold out a share of each language


def cleaned(out: Path, *patterns: str, **fields: Any) -> dict[str, Any]:
    cleaning(patterns, str(out), cut=SMALL, **fields).run()
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def archives(directory: Path, seed: int, parts: int) -> list[str]:
    """Returns globs of archives with pages that meet each other across all parts."""
    pages = meeting_pages(seed, 100)
    longer, other = replaced_pages(seed)
    half = len(pages) // 2
    rest = [pages[half + number :: parts - 1] for number in range(parts - 1)]
    rest[-1] += other
    return [
        write_archives(directory / f"in-{number}", some, 2)
        for number, some in enumerate([pages[:half] + longer, *rest])
    ]


def agree(found: Path, expected: Path) -> None:
    """Asserts that two corpora have the same rows and the same funnel.

    Where a share of each language is held out, the split of pages may differ, and is counted.
    """
    one, other = (json.loads((d / "manifest.json").read_text()) for d in (found, expected))
    exact = one["rules"]["name"] not in WITH_SHARE
    for part in ("pages", "rejected", "broken"):
        assert rows_of(found / part, exact) == rows_of(expected / part, exact), part
    if not exact:
        held_out = [
            Counter({code: entry.pop("held_out") for code, entry in manifest["languages"].items()})
            for manifest in (one, other)
        ]
        held_out[0].subtract(held_out[1])
        more = {code: number for code, number in held_out[0].items() if number}
        assert one["addition"]["held_out_difference"] == more
    for part in ("languages", "not_asked", "input", "rules"):
        assert one[part] == other[part], part


def digests(corpus: Path) -> Counter:
    """Returns the digests of a corpus's kept pages."""
    return Counter(
        hashlib.md5("\n".join([row["url"], row["timestamp"], row["text"]]).encode()).hexdigest()
        for path in (corpus / "pages").rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    )


def check_delta(before: Path, after: Path) -> None:
    """Asserts that the difference leads from one corpus to the other, and is counted."""
    rows = pq.read_table(after / delta.FOLDER).to_pylist()
    pages = digests(before)
    for row in rows:
        pages[row["digest"]] += -1 if row["change"] == delta.RETRACTED else 1
    assert min(pages.values()) >= 0
    assert +pages == digests(after)
    counted = json.loads((after / "manifest.json").read_text())["addition"]["changes"]
    for change in delta.KINDS:
        number = sum(sum(by_reason.values()) for by_reason in counted[change].values())
        assert number == sum(row["change"] == change for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "seed", "more"),
    [
        ("mc4", 1, {}),
        ("c4-en", 3, {}),
        ("mswitch-web", 4, {}),
        ("mswitch-web", 5, {"languages": ("sw", "en")}),
        ("demo", 6, {"languages": ("sw", "en")}),
        ("none", 7, {}),
    ],
)
def test_adding_is_cleaning_both_at_once(tmp_path, monkeypatch, rules, seed, more):
    monkeypatch.setattr(delta, "SHARDS_PER_FILE", 2)
    first, second = archives(tmp_path, seed, 2)
    cleaned(tmp_path / "both", first, second, rules=rules, **more)
    cleaned(tmp_path / "one", first, rules=rules, growable=True, **more)
    before = contents(tmp_path / "one")
    manifest = cleaned(tmp_path / "two", second, onto=str(tmp_path / "one"))
    agree(tmp_path / "two", tmp_path / "both")
    check_delta(tmp_path / "one", tmp_path / "two")
    assert len(list((tmp_path / "two" / delta.FOLDER).iterdir())) > 1
    assert contents(tmp_path / "one") == before
    if seed in (1, 4):  # the parts meet in every way
        changes = manifest["addition"]["changes"]
        assert all(changes.values())
        assert manifest["addition"]["files"].keys() >= {"same", "rewritten"}


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["mc4", "mswitch-web"])
def test_adding_twice_is_cleaning_three_at_once(tmp_path, rules, capsys):
    inputs = archives(tmp_path, 8, 3)
    cleaned(tmp_path / "all", *inputs, rules=rules)
    cleaned(tmp_path / "0", inputs[0], rules=rules, growable=True)
    for number in (1, 2):
        cleaned(tmp_path / f"{number}", inputs[number], onto=str(tmp_path / f"{number - 1}"))
    *_, last = capsys.readouterr().err.splitlines()
    assert ": next: " not in last  # the corpus before it has no tokens near
    for name, stage, inputs in (
        ("vocabulary", "vocabulary", {}),
        ("blocks", "tokenize", {"corpus_0": digest_of_manifest(tmp_path / "1")}),
    ):
        if stage == "tokenize":
            inputs["vocabulary"] = digest_of_manifest(tmp_path / "vocabulary")
        claim(tmp_path / name, stage, {}, inputs)
        finish(tmp_path / name, stage, {}, inputs, {})
    following = parse([*map(str, adding_command(str(tmp_path / "2"), str(tmp_path / "1")))])
    assert (following.corpus, following.onto) == ((str(tmp_path / "2"),), str(tmp_path / "blocks"))
    assert following.vocabulary == str(tmp_path / "vocabulary")
    assert following.out == str(tmp_path / "blocks-2")
    agree(tmp_path / "2", tmp_path / "all")
    check_delta(tmp_path / "1", tmp_path / "2")
    bounds = [GrowthFiles(str(tmp_path / name)).facts().held_out_up_to for name in "012"]
    for earlier, later in itertools.pairwise(bounds):
        assert all(later[code] <= earlier[code] for code in earlier)
    assert rules == "mc4" or bounds[2] != bounds[0]


def add_and_die(out: Path, pattern: str, onto: Path, renames: int) -> None:
    """Adds a crawl until a file is to be renamed for the n-th time."""
    replace, left = os.replace, iter(range(renames, -1, -1))

    def replace_or_die(source, target):
        if next(left, 0) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die
    cleaned(out, pattern, onto=str(onto))


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["mc4", "mswitch-web"])
def test_a_killed_addition_resumes_and_ends_with_the_same_bytes(tmp_path, rules):
    first, second = archives(tmp_path, 9, 2)
    one = tmp_path / "one"
    cleaned(one, first, rules=rules, growable=True)
    cleaned(tmp_path / "whole", second, onto=str(one))
    killed = 0
    for renames in (3, 40, 90, 130, 150):
        arguments = (tmp_path / "cut", second, one, renames)
        attempt = CONTEXT.Process(target=add_and_die, args=arguments)
        attempt.start()
        attempt.join()
        killed += attempt.exitcode == -signal.SIGKILL
    assert killed >= 3
    cleaned(tmp_path / "cut", second, onto=str(one))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_what_is_missing_beside_the_corpus_is_one_sentence(tmp_path):
    first, second = archives(tmp_path, 2, 2)
    one = tmp_path / "one"
    cleaned(one, first, rules="demo", growable=True)
    for path in (next(one.glob("pages/*/train-*.parquet")), one / "growth/lines/00000.arrow"):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DataError, match=r"1 files of .* are missing; restore them"):
            cleaned(tmp_path / "two", second, onto=str(one))
        path.write_bytes(content)
    shutil.rmtree(path.parent)
    with pytest.raises(DataError, match=r"files of .* are missing; restore them"):
        cleaned(tmp_path / "two", second, onto=str(one))


def check_all(growth: GrowthFiles) -> None:
    for shard in range(len(growth.facts().input)):
        growth.check(shard)


@pytest.mark.slow
def test_a_bit_that_changes_beside_the_corpus_is_noticed(tmp_path):
    first, second = archives(tmp_path, 3, 2)
    one, draw = tmp_path / "one", random.Random(5)
    cleaned(one, first, rules="mswitch-web", growable=True)
    kept = [path for path in sorted((one / "growth").rglob("*")) if path.is_file()]
    assert {path.parent.name for path in kept} >= {"growth", TALLY, *KINDS}
    for path in kept:
        content = path.read_bytes()
        damaged, at = bytearray(content), draw.randrange(len(content))
        damaged[at] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"^{path} is damaged: its SHA-256 .*; restore it, or"):
            check_all(GrowthFiles(str(one)))
        if path.parent.name in ("growth", PAGES) and path.stem in ("growth", "00001"):
            with pytest.raises(DataError, match=f"{path} is damaged"):
                cleaned(tmp_path / "two", second, onto=str(one))
        path.write_bytes(content)


@pytest.mark.parametrize("rules", ["none", "demo"])
def test_held_out_pages_that_come_again_stay_held_out(tmp_path, rules):
    """Under `none` both copies of a text are kept; else the later one of an address."""
    texts = texts_of("sw", 183)
    for name, count, year in (("first", 30, 2025), ("second", 183, 2026)):
        lines = [
            {"text": text, "language": "sw", "timestamp": f"{year}-01-01"}
            | ({} if rules == "none" else {"url": f"https://a{number}.example/"})
            for number, text in enumerate(texts[:count])
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    more = {"rules": rules, "validation_minimum": 10, "growable": True}
    cleaned(tmp_path / "one", str(tmp_path / "first.jsonl"), **more)
    cleaned(tmp_path / "two", str(tmp_path / "second.jsonl"), onto=str(tmp_path / "one"))
    before, after = (
        pq.read_table(tmp_path / name / "pages").to_pylist() for name in ("one", "two")
    )
    held_out = {page["url"] for page in before if page["split"] == "validation"}
    assert len(held_out) == 10
    assert held_out <= {page["url"] for page in after if page["split"] == "validation"}
    assert held_out.isdisjoint(page["url"] for page in after if page["split"] == "train")


def test_what_contradicts_the_corpus_is_refused_in_one_sentence(tmp_path, monkeypatch):
    first, second = archives(tmp_path, 2, 2)
    one = tmp_path / "one"
    cleaned(one, first, rules="demo", growable=True, languages=("sw",))
    cleaned(tmp_path / "plain", first, rules="demo")
    add = {"onto": str(one)}
    refused = [
        ({"onto": str(tmp_path / "plain")}, "--growable, once"),
        (add | {"rules": "mc4"}, "--rules mc4 was given, and"),
        (add | {"languages": ("sw", "yo")}, "was cleaned with"),
        (add | {"validation_minimum": 3}, "was cleaned without it"),
    ]
    for fields, says in refused:
        with pytest.raises(DataError, match=says):
            cleaned(tmp_path / "two", second, **fields)
    with pytest.raises(DataError, match="neither --rules nor --onto"):
        Clean(input=(second,), out=str(tmp_path / "two")).execute()
    with pytest.raises(DataError, match=r"2 of 4 files of the input, such as .*, are in"):
        cleaned(tmp_path / "two", first, second, **add)
    with monkeypatch.context() as patch:
        added = replace(get("sw"), code="vot", iso639_3="vot", aliases=())
        patch.setattr(verdicts, "all_languages", lambda: (*all_languages(), added))
        with pytest.raises(DataError, match="was cleaned with other languages or aliases"):
            cleaned(tmp_path / "two", second, **add)
    assert not (tmp_path / "two").exists()
    cleaned(tmp_path / "two", second, rules="demo", languages=("sw",), **add)
