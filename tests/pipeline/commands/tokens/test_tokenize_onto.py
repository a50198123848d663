"""Tokens that follow an added crawl show the pages of tokens made of the new corpus anew."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from contents import contents
from faulty_store import Store
from growing_input import SMALL, meeting_pages, replaced_pages, write_archives
from stored_runs import use_store
from tensorflow_forks import python

from data.tokens.blocks import TokenBlocks, verify_contents, verify_languages, verify_sizes
from data.tokens.manifest import COUNTS, Shard, TokenManifest
from pipeline.artifacts import read_manifest
from pipeline.commands.vocabulary import Vocabulary
from pipeline.commands.withdraw import Withdraw
from pipeline.corpus.clean import cleaning

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
STORE = "store://bucket"
KILLED = -9
CALLS = [["copy", 3], ["put", 5], ["put", 9]]


def asked(home: Path, corpus: object, out: object, onto: object = "") -> list[str]:
    """Returns the words of the command."""
    words = [f"--corpus={corpus}", f"--vocabulary={home}/vocabulary", f"--out={out}"]
    return [*words, f"--onto={onto}"] if onto else words


def tokenize(*given: object, fails: bool = False) -> str:
    """Runs the command in a process of its own: TensorFlow and CLD3 must not meet."""
    done = python("-m", "pipeline.cli", "tokenize", *asked(*given))
    assert done.returncode == (2 if fails else 0), done.stderr
    return " ".join(done.stderr.split())


def grow(place: object, patterns: list[str]) -> None:
    """Cleans one part, and adds the others."""
    for number, pattern in enumerate(patterns):
        how = {"onto": f"{place}/c{number - 1}"} if number else {"rules": "mc4"}
        cleaning((pattern,), f"{place}/c{number}", growable=True, cut=SMALL, **how).run()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Three corpora, each made of the one before, with tokens; two of them also in a store."""
    home = tmp_path_factory.mktemp("home")
    pages, (longer, newer) = meeting_pages(11, 90), replaced_pages(11)
    parts = [pages[n::3] + more for n, more in enumerate((longer, newer[:2], newer[2:]))]
    patterns = [write_archives(home / f"in-{n}", part, 2) for n, part in enumerate(parts)]
    grow(home, patterns)
    with pytest.MonkeyPatch.context() as patch:
        use_store(home / "store", patch)
        grow(STORE, patterns[:2])
        assert Store.calls["copy"] > 0
    sizes = {"size": 900, "character_coverage": 0.98, "sample_characters": 20_000}
    Vocabulary(corpus=(f"{home}/c0",), out=home / "vocabulary", **sizes).execute()
    for number in range(3):
        onto = home / f"t{number - 1}" if number else ""
        tokenize(home, home / f"c{number}", home / f"t{number}", onto)
    return home


def blocks(directory: Path) -> TokenBlocks:
    found = TokenBlocks(directory, read_manifest(directory, "tokenize", TokenManifest))
    verify_sizes(found)
    verify_contents(found)
    verify_languages(found)
    return found


def shards_of(found: TokenBlocks) -> dict[str, Shard]:
    """Returns all shards by name."""
    entries = (entry for splits in found.manifest.languages.values() for entry in splits.values())
    return {shard.name: shard for entry in entries for shard in entry.shards}


def skipped_in(found: TokenBlocks) -> int:
    return sum(shard.skipped.pages for shard in shards_of(found).values() if shard.skipped)


def agree(found: TokenBlocks, anew: TokenBlocks) -> None:
    """Asserts that blocks hold the same pages and counts, and show all of their tokens."""
    assert found.manifest.languages.keys() == anew.manifest.languages.keys()
    for code, splits in anew.manifest.languages.items():
        for split, entry in splits.items():
            there = found.manifest.languages[code][split]
            assert [getattr(there, c) for c in COUNTS] == [getattr(entry, c) for c in COUNTS]
            if not entry.tokens:
                continue
            pages, others = (
                Counter((page.url, page.tokens.tobytes()) for page in one.pages(code, split))
                for one in (found, anew)
            )
            assert pages == others
            ring = found.stream(code, split)
            assert len(ring) == entry.tokens
            whole = np.concatenate([page.tokens for page in found.pages(code, split)])
            assert np.array_equal(ring.read(0, len(ring)), whole)


def carries(found: TokenBlocks, before: TokenBlocks) -> None:
    """Asserts that the old shards come first and have the same bytes."""
    for code in found.manifest.languages.keys() & before.manifest.languages.keys():
        old, new = before.shards(code, "train"), found.shards(code, "train")
        assert [one.sha256 for one in new[: len(old)]] == [one.sha256 for one in old]


def test_tokens_follow_two_additions(home, tmp_path):
    tokenize(home, home / "c2", tmp_path / "anew")
    tokenize(home, home / "c2", tmp_path / "jumped", home / "t0")
    anew, before = blocks(tmp_path / "anew"), blocks(home / "t0")
    for found in (blocks(home / "t2"), blocks(tmp_path / "jumped")):
        agree(found, anew)
        carries(found, before)
    skipped = [skipped_in(blocks(home / f"t{number}")) for number in range(3)]
    assert 0 == skipped[0] < skipped[1] < skipped[2]
    manifest = json.loads((home / "c2/manifest.json").read_text())
    assert len(manifest["addition"]["lineage"]) == manifest["addition"]["generation"] == 2
    says = tokenize(home, home / "c0", tmp_path / "x", home / "t1", fails=True)
    assert "its tokens are not of a corpus that" in says
    shutil.copytree(home / "c2", tmp_path / "c2")
    next((tmp_path / "c2/pages").glob("*/train-0*.parquet")).unlink()
    says = tokenize(home, tmp_path / "c2", tmp_path / "y", home / "t0", fails=True)
    assert "is missing; restore its files" in says


def test_tokens_follow_a_withdrawal(home, tmp_path):
    """Nothing is encoded again: the pages that left are skipped."""
    corpus, lists = tmp_path / "corpus", tmp_path / "requests.txt"
    shutil.copytree(home / "c1", corpus)
    tokenize(home, corpus, tmp_path / "before")
    before = blocks(tmp_path / "before")
    pages = [page.url for code in before.languages("train") for page in before.pages(code, "train")]
    lists.write_text("\n".join(pages[::3]) + "\n")
    Withdraw(corpus=str(corpus), sites=(str(lists),), reason="asked").execute()
    tokenize(home, corpus, tmp_path / "after", tmp_path / "before")
    tokenize(home, corpus, tmp_path / "anew")
    after = blocks(tmp_path / "after")
    agree(after, blocks(tmp_path / "anew"))
    carries(after, before)
    assert 0 < skipped_in(after) < len(pages)


def ends(home: Path, attempts: list[list]) -> list[int]:
    """Returns the exit status of each attempt at the command on the store, one after the other."""
    command = ["tests/helpers/forked_tokenize.py", str(home / "store"), json.dumps(attempts)]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/tests/helpers"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=os.environ | paths
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_in_a_store_a_corpus_and_its_tokens_grow_as_in_a_folder_also_where_killed(home):
    bucket = home / "store/bucket"
    for number in range(2):
        assert contents(bucket / f"c{number}") == contents(home / f"c{number}")
    first = asked(home, f"{STORE}/c0", f"{STORE}/t0")
    second = asked(home, f"{STORE}/c1", f"{STORE}/t1", f"{STORE}/t0")
    attempts = [[first, None], *([second, call] for call in CALLS), [second, None]]
    assert ends(home, attempts) == [0, *[KILLED] * len(CALLS), 0]
    for number in range(2):
        assert contents(bucket / f"t{number}") == contents(home / f"t{number}")
    before, now = (shards_of(blocks(bucket / name)) for name in ("t0", "t1"))
    assert [now[name].records for name in before] == [shard.records for shard in before.values()]
    assert any(now[name].skipped for name in before)
