"""Tokens that follow an added crawl show the pages of tokens made of the new corpus anew."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from growing_input import SMALL, meeting_pages, replaced_pages, write_archives
from tensorflow_forks import python

from data.tokens.blocks import TokenBlocks, verify_contents, verify_languages, verify_sizes
from data.tokens.manifest import COUNTS, TokenManifest
from pipeline.artifacts import read_manifest
from pipeline.commands.vocabulary import Vocabulary
from pipeline.commands.withdraw import Withdraw
from pipeline.corpus.clean import cleaning

pytestmark = pytest.mark.slow


def tokenize(*arguments: str, fails: bool = False) -> str:
    """Runs the command in a process of its own: TensorFlow and CLD3 must not meet."""
    done = python("-m", "pipeline.cli", "tokenize", *arguments)
    assert done.returncode == (2 if fails else 0), done.stderr
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Three corpora, each made of the one before, and a vocabulary of the first."""
    home = tmp_path_factory.mktemp("home")
    pages, (longer, newer) = meeting_pages(11, 90), replaced_pages(11)
    more = longer, newer[:2], newer[2:]
    for number in range(3):
        pattern = write_archives(home / f"in-{number}", pages[number::3] + more[number], 2)
        asked = {"onto": str(home / f"c{number - 1}")} if number else {"rules": "mc4"}
        out = str(home / f"c{number}")
        cleaning((pattern,), out, growable=True, cut=SMALL, **asked).run()
    Vocabulary(
            corpus=(str(home / "c0"),), size=900, character_coverage=0.98, sample_characters=20_000,
            out=home / "vocabulary",
        ).execute()  # fmt: skip
    return home


def blocks(directory: Path) -> TokenBlocks:
    found = TokenBlocks(directory, read_manifest(directory, "tokenize", TokenManifest))
    verify_sizes(found)
    verify_contents(found)
    verify_languages(found)
    return found


def pages_of(found: TokenBlocks, code: str, split: str) -> Counter:
    return Counter((page.url, page.tokens.tobytes()) for page in found.pages(code, split))


def test_tokens_follow_two_additions(home):
    vocabulary = f"--vocabulary={home}/vocabulary"
    for number in range(3):
        onto = [f"--onto={home}/t{number - 1}"] if number else []
        tokenize(f"--corpus={home}/c{number}", vocabulary, f"--out={home}/t{number}", *onto)
    tokenize(f"--corpus={home}/c2", vocabulary, f"--out={home}/anew")
    jumped = (f"--corpus={home}/c2", vocabulary, f"--out={home}/jumped")
    tokenize(*jumped, f"--onto={home}/t0")
    anew, before = blocks(home / "anew"), blocks(home / "t0")
    for found in (blocks(home / "t2"), blocks(home / "jumped")):
        agree(found, anew)
        carries(found, before)
    skipped = [
        sum(one.skipped.pages for one in all_shards(blocks(home / f"t{number}")) if one.skipped)
        for number in range(3)
    ]
    assert 0 == skipped[0] < skipped[1] < skipped[2]
    says = tokenize(
        f"--corpus={home}/c0", vocabulary, f"--out={home}/x", f"--onto={home}/t1", fails=True
    )
    assert "its tokens are not of a corpus that" in says
    next((home / "c2/pages").glob("*/train-0*.parquet")).rename(home / "lost")
    says = tokenize(
        f"--corpus={home}/c2", vocabulary, f"--out={home}/y", f"--onto={home}/t0", fails=True
    )
    assert "is missing; restore its files" in says


def test_tokens_follow_a_withdrawal(home, tmp_path):
    """Nothing is encoded again: the pages that left are skipped."""
    vocabulary = f"--vocabulary={home}/vocabulary"
    shutil.copytree(home / "c1", corpus := tmp_path / "corpus")
    tokenize(f"--corpus={corpus}", vocabulary, f"--out={tmp_path}/before")
    before = blocks(tmp_path / "before")
    pages = [page.url for code in before.languages("train") for page in before.pages(code, "train")]
    (tmp_path / "requests.txt").write_text("\n".join(pages[::3]) + "\n")
    Withdraw(corpus=str(corpus), sites=(str(tmp_path / "requests.txt"),), reason="asked").execute()
    to = f"--out={tmp_path}/after"
    tokenize(f"--corpus={corpus}", vocabulary, to, f"--onto={tmp_path}/before")
    tokenize(f"--corpus={corpus}", vocabulary, f"--out={tmp_path}/anew")
    after = blocks(tmp_path / "after")
    agree(after, blocks(tmp_path / "anew"))
    carries(after, before)
    skipped = sum(shard.skipped.pages for shard in all_shards(after) if shard.skipped)
    assert 0 < skipped < len(pages)


def agree(found: TokenBlocks, anew: TokenBlocks) -> None:
    """Asserts that blocks hold the same pages and counts, and show all of their tokens."""
    assert found.manifest.languages.keys() == anew.manifest.languages.keys()
    for code, splits in anew.manifest.languages.items():
        for split, entry in splits.items():
            there = found.manifest.languages[code][split]
            assert [getattr(there, c) for c in COUNTS] == [getattr(entry, c) for c in COUNTS]
            if not entry.tokens:
                continue
            pages = pages_of(found, code, split)
            assert pages == pages_of(anew, code, split)
            ring = found.stream(code, split)
            assert len(ring) == entry.tokens
            whole = np.concatenate([page.tokens for page in found.pages(code, split)])
            assert np.array_equal(ring.read(0, len(ring)), whole)


def carries(found: TokenBlocks, before: TokenBlocks) -> None:
    """Asserts that the old shards come first and have the same bytes."""
    for code in found.manifest.languages.keys() & before.manifest.languages.keys():
        old, new = before.shards(code, "train"), found.shards(code, "train")
        assert [one.sha256 for one in new[: len(old)]] == [one.sha256 for one in old]


def all_shards(found: TokenBlocks):
    return [
        s for e in found.manifest.languages.values() for split in e.values() for s in split.shards
    ]


def test_the_manifest_names_what_it_was_made_of(home):
    manifest = json.loads((home / "c2/manifest.json").read_text())
    assert len(manifest["addition"]["lineage"]) == manifest["addition"]["generation"] == 2
