""""""

import errno
import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.files import block_cache
from data.files.block_cache import BlockCache, CachedFile, CacheFull, DamagedFile

CONTENTS = [bytes([number]) * (100 + number) for number in range(8)]
LIMIT = 350  # three of them


def wanted(number: int) -> CachedFile:
    content = CONTENTS[number]
    return CachedFile(hashlib.sha256(content).hexdigest(), len(content), f"store://{number}")


class Fetch:
    """Writes one of the contents, and counts how often."""

    def __init__(self):
        self.count = 0

    def __call__(self, number: int):
        def fetch(path: Path) -> None:
            self.count += 1
            path.write_bytes(CONTENTS[number])

        return fetch


def occupied(cache: BlockCache) -> int:
    with (cache.directory / "cache.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # no other process renames or evicts meanwhile
        return sum(path.stat().st_size for path in cache.directory.iterdir())


@pytest.fixture
def cache(tmp_path):
    return BlockCache(tmp_path / "cache", LIMIT)


def test_a_file_is_fetched_once(cache):
    fetch = Fetch()
    for _ in range(3):
        with cache.pin(wanted(1), fetch(1)) as path:
            assert path.read_bytes() == CONTENTS[1]
    assert fetch.count == 1


def test_locks_hold_where_nfs_gives_shared_ones_to_readable_files_alone(cache, monkeypatch):
    """NFSv4's client of Linux answers EBADF to `LOCK_SH` on a file that is open for writing."""
    flock = fcntl.flock

    def of_nfs(file, how):
        if how == fcntl.LOCK_SH and not file.readable():
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(file, how)

    monkeypatch.setattr(block_cache.fcntl, "flock", of_nfs)
    with cache.pin(wanted(1), Fetch()(1)) as path:
        assert path.read_bytes() == CONTENTS[1]


@given(st.lists(st.integers(0, 7), max_size=30))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_it_is_never_larger_than_its_limit_and_keeps_what_was_used_last(tmp_path, numbers):
    cache, fetch = BlockCache(tmp_path / "cache", LIMIT), Fetch()
    for number in numbers:
        with cache.pin(wanted(number), fetch(number)) as path:
            assert path.read_bytes() == CONTENTS[number]
            assert occupied(cache) <= LIMIT
    recent = list(dict.fromkeys(reversed(numbers)))[:3]
    assert all((cache.directory / wanted(number).sha256).exists() for number in recent)


def test_what_is_lent_stays(cache):
    fetch = Fetch()
    with cache.pin(wanted(0), fetch(0)) as lent:
        for number in (1, 2, 3, 4, 5):
            with cache.pin(wanted(number), fetch(number)):
                assert lent.exists()


def test_a_cache_of_which_all_is_lent_says_so(cache, monkeypatch):
    monkeypatch.setattr(block_cache, "PATIENCE_SECONDS", 0)
    fetch = Fetch()
    with (
        cache.pin(wanted(0), fetch(0)),
        cache.pin(wanted(1), fetch(1)),
        cache.pin(wanted(2), fetch(2)),
        pytest.raises(CacheFull, match="store://3 needs 103 bytes and all but 47 of the 350"),
        cache.pin(wanted(3), fetch(3)),
    ):
        pass


def test_a_file_larger_than_the_cache_is_refused_at_once(tmp_path):
    cache = BlockCache(tmp_path, 50)
    with (
        pytest.raises(DataError, match=r"store://0 has 100 bytes and the cache .* may hold 50"),
        cache.pin(wanted(0), Fetch()(0)),
    ):
        pass


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"?" + c[1:], lambda c: c + b"?"])
def test_a_damaged_file_is_never_lent(cache, damage):
    with (
        pytest.raises(DamagedFile, match="store://0 differs from the manifest"),
        cache.pin(wanted(0), lambda path: path.write_bytes(damage(CONTENTS[0]))),
    ):
        pass
    assert occupied(cache) == 0
    with cache.pin(wanted(0), Fetch()(0)) as path:
        assert path.read_bytes() == CONTENTS[0]


def test_processes_share_it(cache):
    """Two processes borrow eight files of which three fit, in orders of their own."""
    code = (
        "import sys, numpy as np\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_block_cache import *\n"
        "cache, fetch = BlockCache(Path(sys.argv[1]), LIMIT), Fetch()\n"
        "for number in np.random.default_rng(int(sys.argv[3])).integers(0, 8, 100).tolist():\n"
        "    with cache.pin(wanted(number), fetch(number)) as path:\n"
        "        assert path.read_bytes() == CONTENTS[number]\n"
        "        assert occupied(cache) <= LIMIT\n"
        "print(fetch.count)\n"
    )
    here = Path(__file__)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(cache.directory), str(here.parent), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=here.parents[2],
        )
        for seed in range(2)
    ]
    counts = [int(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(0 < count < 100 for count in counts)


def test_a_process_that_was_killed_leaves_nothing_that_counts(cache):
    """It holds one file and has fetched half of another."""
    code = (
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_block_cache import *\n"
        "cache = BlockCache(Path(sys.argv[1]), LIMIT)\n"
        "def die(path):\n"
        "    path.write_bytes(CONTENTS[1][:50])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "with cache.pin(wanted(0), Fetch()(0)), cache.pin(wanted(1), die):\n"
        "    pass\n"
    )
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache.directory), str(here.parent)],
        check=False,
        cwd=here.parents[2],
    )
    assert done.returncode == -9
    assert any(path.suffix == ".tmp" for path in cache.directory.iterdir())
    fetch = Fetch()
    for number in (5, 6, 7, 1):
        with cache.pin(wanted(number), fetch(number)) as path:
            assert path.read_bytes() == CONTENTS[number]
            assert occupied(cache) <= LIMIT
    assert fetch.count == 4
