"""An addition to a corpus and to its tokens, all in an object store, is that of a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from contents import contents
from faulty_store import Store
from growing_input import SMALL, meeting_pages, replaced_pages, write_archives
from stored_runs import use_store

from data.tokens.manifest import Shard, TokenManifest
from pipeline.artifacts import read_manifest
from pipeline.commands.vocabulary import Vocabulary
from pipeline.corpus.clean import cleaning

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
KILLED = -9
CALLS = [["copy", 3], ["put", 5], ["put", 9]]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A corpus, one that is made of it, both again in a store, and a vocabulary."""
    home = tmp_path_factory.mktemp("home")
    pages, (longer, newer) = meeting_pages(12, 60), replaced_pages(12)
    inputs = [pages[::2] + longer, pages[1::2] + newer]
    patterns = [write_archives(home / f"in-{n}", some, 2) for n, some in enumerate(inputs)]
    grow(str(home), patterns)
    with pytest.MonkeyPatch.context() as patch:
        use_store(home / "store", patch)
        grow("store://bucket", patterns)
        copied = Store.calls["copy"]
    assert copied > 0
    Vocabulary(
            corpus=(str(home / "c0"),), size=900, character_coverage=0.98,
            sample_characters=20_000, out=home / "vocabulary",
        ).execute()  # fmt: skip
    return home


def grow(place: str, patterns: list[str]) -> None:
    """Cleans one part, and adds the other."""
    first, second = patterns
    cleaning((first,), f"{place}/c0", rules="mc4", growable=True, cut=SMALL).run()
    cleaning((second,), f"{place}/c1", onto=f"{place}/c0", cut=SMALL).run()


def tokenize(home: Path, place: str, number: int, killed_at: list | None = None) -> list:
    """Returns an attempt at tokenizing a corpus of a place, the second onto the first's."""
    onto = [f"--onto={place}/t0"] if number else []
    places = [f"--corpus={place}/c{number}", f"--out={place}/t{number}", *onto]
    return [[*places, f"--vocabulary={home}/vocabulary"], killed_at]


def ends(home: Path, attempts: list[list]) -> list[int]:
    """Returns the exit status of each attempt, made one after the other."""
    command = ["tests/helpers/forked_tokenize.py", str(home / "store"), json.dumps(attempts)]
    paths = f"{ROOT}{os.pathsep}{ROOT}/tests/helpers"
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_corpus_grows_in_a_store_as_in_a_folder(home):
    for number in range(2):
        assert contents(home / f"store/bucket/c{number}") == contents(home / f"c{number}")


def test_tokens_follow_in_a_store_and_a_killed_addition_gives_the_same_blocks(home):
    places, bucket = [str(home), "store://bucket"], home / "store/bucket"
    attempts = [tokenize(home, place, number) for place in places for number in range(2)]
    whole = attempts.pop()
    killed = [tokenize(home, places[1], 1, call) for call in CALLS]
    assert ends(home, [*attempts, *killed, whole]) == [0, 0, 0, *[KILLED] * len(CALLS), 0]
    assert contents(bucket / "t0") == contents(home / "t0")
    assert contents(bucket / "t1") == contents(home / "t1")
    before, now = (shards_of(bucket / name) for name in ("t0", "t1"))
    assert [now[name].records for name in before] == [shard.records for shard in before.values()]
    assert any(now[name].skipped for name in before)


def shards_of(tokens: Path) -> dict[str, Shard]:
    """Returns the shards of token blocks by name."""
    languages = read_manifest(tokens, "tokenize", TokenManifest).languages
    entries = [entry for splits in languages.values() for entry in splits.values()]
    return {shard.name: shard for entry in entries for shard in entry.shards}
