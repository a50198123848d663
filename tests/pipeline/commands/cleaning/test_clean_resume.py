"""A cleaning run that is killed, at any write or moment, resumes and ends with the same bytes.

Each attempt is a separate process, forked from one that has loaded everything. It kills itself with
SIGKILL, either before or after the rename of a file, so every state of finished files occurs. Or it
is killed inside a write, with all its workers; `make faults` does that at random moments.
"""

import contextlib
import json
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from contents import contents
from forked import CONTEXT

from data.demo import member_of, shipped_pages
from data.reading.page import Page
from pipeline.commands.clean import Clean
from pipeline.corpus.clean import cleaning
from pipeline.corpus.read import Cut

TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
FOUR_THREADS = ("--direct_running_mode=multi_threading", "--direct_num_workers=4")
KILLS_INSIDE = 2
MOST_KILLS = 60  # an attempt counts only if its kill came inside a write
GARBAGE = b"\x00\x01 between records \xff\n" * 9
SMALL = Cut(shard_bytes=20_000, chunk_characters=30_000, partition_bytes=30_000)
LANGUAGES = ("sw", "yo", "ja", "ar", "hi")


def clean(inputs: tuple[str, ...], out: Path, beam: tuple[str, ...] = ()) -> None:
    """Cleans in small pieces."""
    cleaning(inputs, out, rules="demo", beam=beam, cut=SMALL).run()


def run_and_die(asked: dict[str, Any], writes: int, after_the_last: bool) -> None:
    """Cleans until the rename of this number."""
    replace, left = os.replace, iter(range(writes, -1, -1))

    def replace_or_die(source, target):
        if next(left) == 0 and not after_the_last:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if next(left_after) == 0 and after_the_last:
            os.kill(os.getpid(), signal.SIGKILL)

    left_after = iter(range(writes, -1, -1))
    os.replace = replace_or_die
    clean(**asked)


def run_in_a_session(asked: dict[str, Any]) -> None:
    """Cleans; whoever kills the session kills all workers."""
    os.setsid()
    clean(**asked)


def unfinished_files(out: Path) -> set[Path]:
    """Returns unfinished files, those of earlier kills included."""
    try:
        return {path for path in out.glob("work/**/scratch/**/*") if path.is_file()}
    except FileNotFoundError:  # the run is whole and removes its workspace
        return set()


def kill_inside_a_write(process: BaseProcess, out: Path, writes: int) -> bool:
    """Kills a run, with all its workers, in the write of this number, if it has as many.

    The workers are stopped first, so that no file is finished between the look at the files and
    the kill, however fast the machine is. Returns whether an unfinished file was left.
    """
    before, seen = unfinished_files(out), set()
    while process.is_alive():
        seen |= unfinished_files(out) - before
        if len(seen) >= writes:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGSTOP)
                inside = unfinished_files(out) - before
                os.killpg(process.pid, signal.SIGKILL if inside else signal.SIGCONT)
        time.sleep(0.001)
    return bool(unfinished_files(out) - before)


def finished_pieces(out: Path) -> dict[Path, int]:
    """Returns when each tally was written."""
    tallies = (path for path in (out / "work").rglob("*.json") if path.stem.isdigit())
    return {path: path.stat().st_mtime_ns for path in tallies}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory) -> str:
    directory = tmp_path_factory.mktemp("archives")
    pages = [page for page in shipped_pages() if page.declared_language in LANGUAGES]
    random.Random(0).shuffle(pages)
    pages += [page._replace(timestamp="2001") for page in pages[:40]]
    pages += [page._replace(url=f"{page.url}/again") for page in pages[20:60]]
    pages += [Page(f"https://short.example/{number}", "x") for number in range(20)]
    for number in range(4):
        archive = directory / f"{number}.warc.wet.gz"
        members = map(member_of, pages[number::4])
        archive.write_bytes(GARBAGE.join([next(members), next(members), b"".join(members)]))
    return str(directory / "*.gz")


@pytest.fixture(scope="module")
def whole(pattern, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    clean((pattern,), out)
    return contents(out)


@pytest.mark.slow
def test_the_cut_does_not_change_the_pages(pattern, whole, tmp_path):
    Clean(input=(pattern,), rules="demo", out=tmp_path / "out").execute()
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
def test_killed_at_any_write_it_goes_on_and_ends_the_same(pattern, whole, tmp_path):
    out, draw, kills = tmp_path / "out", random.Random(7), 0
    tallies: dict[Path, int] = {}
    while not (out / "manifest.json").exists():
        asked = {"inputs": (pattern,), "out": out}
        dying = (asked, draw.randrange(40) if kills else 0, draw.random() < 0.5)
        process = CONTEXT.Process(target=run_and_die, args=dying)
        process.start()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
        found = finished_pieces(out)
        assert all(found[path] == at for path, at in tallies.items() if path in found)
        assert tallies.keys() <= found.keys() or (out / "manifest.json").exists()
        tallies = found
    assert kills >= 4
    Clean(input=(pattern,), rules="demo", out=out).execute()  # removes what a late kill left
    assert contents(out) == whole
    rejected = json.loads((out / "manifest.json").read_text())["languages"]["sw"]["rejected"]
    assert rejected["duplicate_url"] > 1
    assert rejected["only_duplicate_lines"] > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "beam", [(), TWO_PROCESSES, FOUR_THREADS], ids=["one worker", "two", "four"]
)
def test_killed_inside_writes_it_goes_on_and_ends_as_one_worker_does(
    pattern, whole, tmp_path, beam
):
    draw, inside, pieces, out = random.Random(11), 0, {}, tmp_path / "0"
    for kill in range(MOST_KILLS):
        asked = {"inputs": (pattern,), "out": out, "beam": beam}
        process = CONTEXT.Process(target=run_in_a_session, args=(asked,))
        process.start()
        inside += kill_inside_a_write(process, out, draw.randint(2, 8 + 4 * (kill % 5)))
        if (out / "manifest.json").exists():  # it was faster than the kills: another from the start
            clean(**asked)  # removes what a late kill left
            assert contents(out) == whole
            out, pieces = tmp_path / str(kill + 1), {}
            continue
        found = finished_pieces(out)
        assert all(found[path] == at for path, at in pieces.items())
        pieces = found
        if pieces and inside >= KILLS_INSIDE:
            break
    assert pieces
    assert inside >= KILLS_INSIDE
    clean(**asked)
    assert contents(out) == whole
