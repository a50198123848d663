"""One command per directory, with processes that are killed, stopped and on other machines."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from lock_holder import held_elsewhere

from data.files import locks
from data.files.atomic import create, write_text
from data.files.locks import (
    Holder,
    LockHeld,
    LockLost,
    ProcessIdentity,
    check_held,
    entry_path,
    has_ended,
    locked,
    this_process,
)
from data.files.paths import names_in

number = itertools.count()
LEASE, RENEWAL = locks.LEASE_SECONDS, locks.RENEWAL_SECONDS


@pytest.fixture(params=["local", "store"])
def out(request, tmp_path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"memory://lock{next(number)}/out"


@pytest.fixture(autouse=True)
def short_lease(monkeypatch):
    """Ends the wait for holders that show no life; tests of living ones wait a minute at most."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.02)


def take(out: object, said: list[str] | None = None) -> None:
    with locked(str(out), "clean", [].append if said is None else said.append):
        pass


def write_entry(out: object, process: ProcessIdentity, at: int = 1) -> None:
    path = entry_path(str(out), at)
    if "://" not in path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    assert create(path, json.dumps(Holder("clean", process, "other")).encode())


@contextmanager
def stopped(process: subprocess.Popen) -> Iterator[None]:
    """Stops a process for the block, at most: one that stays stopped would never end."""
    process.send_signal(signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_second_command_is_refused_with_process_and_host(out):
    with locked(out, "tokenize", print):
        write_text(f"{out}/x", "x")
        who = f"{out} is in use by tokenize, process {os.getpid()} on {socket.gethostname()};"
        with pytest.raises(LockHeld, match=who):
            take(out)
    assert names_in(out) == ["x"]
    take(out)
    assert names_in(out) == ["x"]


def test_a_file_that_nfs_has_renamed_is_left_alone(tmp_path):
    kept = tmp_path / "out" / locks.FOLDER / ".nfs000000000123abcd00000001"
    kept.parent.mkdir(parents=True)
    kept.touch()
    take(tmp_path / "out")
    assert names_in(kept.parent) == [kept.name]


def test_a_killed_process_is_replaced_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_shows_life", None)  # nobody waits
    with held_elsewhere(tmp_path) as holder:
        with pytest.raises(LockHeld, match=f"pretrain, process {holder.pid} on"):
            take(tmp_path)
        holder.send_signal(signal.SIGKILL)  # not waited for: it stays as a zombie
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        take(tmp_path)
    assert names_in(tmp_path) == []


def test_a_number_that_another_process_has_now_is_no_holder(out, monkeypatch):
    monkeypatch.setattr(locks, "_shows_life", None)
    here = this_process()
    assert has_ended(here) is False
    write_entry(out, here._replace(started=here.started - 1))
    take(out)


def test_a_holder_elsewhere_is_refused_while_it_lives_and_replaced_when_it_does_not(
    tmp_path, monkeypatch
):
    said: list[str] = []
    with held_elsewhere(tmp_path, "another machine") as holder:
        with monkeypatch.context() as patch:
            patch.setattr(locks, "LEASE_SECONDS", 60.0)
            with pytest.raises(LockHeld, match=f"process {holder.pid} on"):
                take(tmp_path, said)
        assert "unless it shows a sign of life within 60 s" in said[0]
        assert holder.poll() is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        take(tmp_path)
    assert names_in(tmp_path) == []


def test_what_a_kill_leaves_of_an_entry_is_waited_for(tmp_path):
    (tmp_path / "lock").mkdir()
    (tmp_path / "lock/00000007.json").touch()
    take(tmp_path, said := [])
    assert "a command, process unknown on an unknown host" in said[0]
    assert names_in(tmp_path) == []


def test_a_paused_holder_that_was_replaced_knows_it(tmp_path):
    """The lease ends while the holder is stopped; it goes on while the next one works."""
    with held_elsewhere(tmp_path, "another machine") as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        print("look", file=holder.stdin, flush=True)
        assert holder.stdout.readline() == "still held\n"
        with stopped(holder), locked(tmp_path, "distill", print):
            holder.send_signal(signal.SIGCONT)
            print("look", file=holder.stdin, flush=True)
            sentence = holder.stdout.readline()
            assert f"has passed to distill, process {os.getpid()} on" in sentence


def test_a_lost_lock_is_lost_for_all_below_and_none_beside(out):
    elsewhere = ProcessIdentity("far", "another machine", 7, 7)
    with locked(out, "clean", print):
        write_entry(out, elsewhere, at=2)
        for path in (out, f"{out}/after", f"{out}/work/key/after"):
            with pytest.raises(LockLost, match="passed to clean, process 7 on far"):
                check_held(path)
        check_held(f"{out}-beside")
    assert names_in(f"{out}/{locks.FOLDER}") == ["00000002.json"]  # the other's entry stays


def test_an_entry_that_someone_removed_is_a_lost_lock(out):
    with locked(out, "clean", print):
        locks.remove(entry_path(out, 1))
        with pytest.raises(LockLost, match="nobody"):
            check_held(f"{out}/after")


def test_of_many_that_find_a_dead_holder_one_works_at_a_time(tmp_path):
    here = this_process()
    write_entry(tmp_path, here._replace(started=here.started - 1))
    inside, most, done = threading.Semaphore(1), [], []

    def compete(_: int) -> str:
        try:
            with locked(tmp_path, "clean", print):
                most.append(inside.acquire(blocking=False))
                time.sleep(0.02)
                inside.release()
                return "worked"
        except LockHeld:
            return "refused"

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(compete, range(24)))
    assert all(most)
    assert set(done) <= {"worked", "refused"}
    assert done.count("worked") == len(most) >= 1


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 60.0)
    jumps = itertools.cycle((0.0, 4e9, 1e6))
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(next(jumps)) * 10**9)
    with held_elsewhere(tmp_path, "another machine"), pytest.raises(LockHeld):
        take(tmp_path)
    with (
        held_elsewhere(tmp_path / "here") as holder,
        pytest.raises(LockHeld, match=str(holder.pid)),
    ):
        take(tmp_path / "here")


def test_a_refused_command_leaves_no_directory(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "out", "clean", print):
        raise ZeroDivisionError
    assert names_in(tmp_path) == []


def test_the_holder_removes_what_killed_writes_left_and_no_two_share_a_name(tmp_path):
    code = "from data.files.atomic import atomic_write as a; import os, sys\n"
    code += "with a(sys.argv[1]) as path: path.touch(); os.kill(os.getpid(), 9)"
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=False)
    assert len(names_in(tmp_path)) == 3
    take(tmp_path)
    assert names_in(tmp_path) == []


def test_a_living_holder_renews_often_enough():
    """A store may be away for half a minute; the documents name the 60 s."""
    assert LEASE == 60 >= 30 + 3 * RENEWAL
