"""The faults: each function faults a stage in several rounds and counts the ends of the rounds.

A round ends with the undisturbed command on the same directory. Its result is compared with the
undisturbed output, so the last outcome of a round is "right bytes", or what was wrong.
"""

import json
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from contents import contents

from tests.faults import attempts
from tests.faults.attempts import DONE, KILLED, SENTENCE
from tests.faults.material import Stage, difference

RIGHT = "right bytes"
KIB = 1 << 10
ROOMY = "size=1g"


class Bench:
    """The material of all rounds.

    Args:
        root: directory of the material.
        draw: generator of all random moments and sizes.
    """

    def __init__(self, root: Path, draw: random.Random):
        self.root, self.draw = root, draw
        self._rounds = 0

    def out(self, stage: Stage, within: Path | None = None) -> Path:
        """Returns a new output directory that is ready for the stage."""
        self._rounds += 1
        out = (within or self.root / "rounds") / f"{stage.name}-{self._rounds}"
        out.parent.mkdir(parents=True, exist_ok=True)
        stage.prepare(out)
        return out

    def conclude(self, stage: Stage, out: Path) -> str:
        """Runs the undisturbed command, and returns whether its result is right."""
        attempt = attempts.run(stage.command(out))
        if attempt.outcome != DONE:
            return f"WRONG at the end: {attempt.outcome}"
        differs = difference(stage.name, self.root / "whole" / stage.name, out)
        shutil.rmtree(out)
        return f"WRONG bytes: {differs}"[:200] if differs else RIGHT


Fault = Callable[[Bench, Stage, int], Counter[str]]


def killed(bench: Bench, stage: Stage, count: int) -> Counter[str]:
    """SIGKILL of all processes of the command at random moments of its work, `count` times."""
    seen: Counter[str] = Counter()
    out = bench.out(stage)
    while seen[KILLED] < count:
        before = attempts.locks(out)
        process = attempts.start(stage.command(out))
        attempts.wait_for_lock(process, out, before)
        moment = stage.work_seconds * bench.draw.uniform(0.0, 1.0)
        attempt = attempts.end(process, max(0.01, moment))
        seen[attempt.outcome] += 1
        if attempt.outcome != KILLED:
            seen[bench.conclude(stage, out)] += 1
            out = bench.out(stage)
    seen[bench.conclude(stage, out)] += 1
    return seen


def full_disk(bench: Bench, stage: Stage, count: int) -> Counter[str]:
    """A disk of random size that fills up; then there is room."""
    seen: Counter[str] = Counter()
    sizes = sum(map(len, contents(bench.root / "whole" / stage.name).values()))
    for _ in range(count):
        with disk(bench.root / "disk") as mounted:
            out = bench.out(stage, mounted)
            there = os.statvfs(mounted)
            used = (there.f_blocks - there.f_bfree) * there.f_frsize
            room = used + round(bench.draw.uniform(16 * KIB, max(sizes, 32 * KIB)))
            remount(mounted, f"size={room // KIB}k")
            seen[attempts.run(stage.command(out)).outcome] += 1
            remount(mounted, ROOMY)
            seen[bench.conclude(stage, out)] += 1
    return seen


def read_only_disk(bench: Bench, stage: Stage, count: int) -> Counter[str]:
    """A disk that may not be written; then it may."""
    seen: Counter[str] = Counter()
    for _ in range(count):
        with disk(bench.root / "disk") as mounted:
            out = bench.out(stage, mounted)
            remount(mounted, "ro")
            seen[attempts.run(stage.command(out)).outcome] += 1
            remount(mounted, "rw")
            seen[bench.conclude(stage, out)] += 1
    return seen


def two_processes(bench: Bench, stage: Stage, count: int) -> Counter[str]:
    """Two equal commands on one directory, of which odd rounds kill the first.

    The second starts after a random time that is shorter than the first's work. The kill comes
    when the second should reach the lock, so either of the two may hold it then.
    """
    seen: Counter[str] = Counter()
    for number in range(count):
        out = bench.out(stage)
        first = attempts.start(stage.command(out))
        time.sleep(stage.work_seconds * bench.draw.uniform(0.0, 0.8))
        second = attempts.start(stage.command(out))
        seen[attempts.end(first, stage.start_seconds if number % 2 else None).outcome] += 1
        seen[attempts.end(second).outcome] += 1
        seen[bench.conclude(stage, out)] += 1
    return seen


def jumping_clock(bench: Bench, stage: Stage, count: int) -> Counter[str]:
    """A wall clock that jumps by up to a year at every look."""
    seen: Counter[str] = Counter()
    for number in range(count):
        out = bench.out(stage)
        seen[attempts.run(stage.command(out), CLOCK=str(number)).outcome] += 1
        seen[bench.conclude(stage, out)] += 1
    return seen


def store(call: str, fault: str) -> Fault:
    """A store whose calls of one kind fail: every third, and in other rounds from the 12th on."""

    def rounds(bench: Bench, stage: Stage, count: int) -> Counter[str]:
        seen: Counter[str] = Counter()
        folder = bench.root / "store"
        for number in range(count):
            lasting = {"LASTING": "1"} if number % 2 and fault != "slow" else {}
            faults = json.dumps({call: [fault, 12 if lasting else 3]})
            name = f"{stage.name}-{call}-{fault}-{number}"
            command = stage.command(f"store://bucket/{name}")
            reached = {"FAULTY_STORE": str(folder)}
            seen[attempts.run(command, STORE_FAULTS=faults, **reached, **lasting).outcome] += 1
            seen[attempts.run(command, **reached).outcome] += 1
            whole = contents(bench.root / "whole" / stage.name)
            same = contents(folder / "bucket" / name) == whole
            seen[RIGHT if same else "WRONG bytes"] += 1
        return seen

    return rounds


def changed_input(bench: Bench, stage: Stage, count: int) -> Counter[str]:
    """A file of the input that is cut or replaced while it is read; then it is as it was.

    The output may be of the one input or of the other; no end may be a traceback.
    """
    seen: Counter[str] = Counter()
    folder = bench.root / ("archive" if stage.name == "clean" else "whole/clean/pages/fr")
    kept = bench.root / "kept"
    shutil.copytree(folder, kept)
    for number in range(count):
        out = bench.out(stage)
        process = attempts.start(stage.command(out))
        time.sleep(stage.seconds * bench.draw.uniform(0.3, 0.9))
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.name == "manifest.json":
                continue
            content = path.read_bytes()
            changed = content[: len(content) // 2] if number % 2 else content[::-1]
            path.write_bytes(changed)
        seen[attempts.end(process).outcome] += 1
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(kept)
    return seen


@contextmanager
def disk(at: Path) -> Iterator[Path]:
    """Mounts a disk in memory; needs root."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", ROOMY, "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        with suppress(subprocess.CalledProcessError):
            remount(at, "rw")
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def remount(at: Path, options: str) -> None:
    """Changes the size of a disk, or whether it may be written."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(at)], check=True)


HARMLESS = (DONE, SENTENCE, KILLED, RIGHT)
OF_CORPORA = ("score", "select", "clean-onto", "withdraw")
KILLABLE = ("clean", *OF_CORPORA, "tokenize", "pretrain", "distill", "finetune", "prune")
EVERY = (*KILLABLE, "vocabulary", "evaluate", "report", "export-hf", "import-hf")
ON_STORES = ("clean", "tokenize")
FAULTS: dict[str, tuple[tuple[str, ...], Fault]] = {
    "SIGKILL": (KILLABLE, killed),
    "full disk": (EVERY, full_disk),
    "read-only disk": (EVERY, read_only_disk),
    "two processes": (EVERY, two_processes),
    "jumping clock": (EVERY, jumping_clock),
    "store answers 503": (ON_STORES, store("put", "fail")),
    "store answers 503 to reads": (ON_STORES, store("get", "fail")),
    "store keeps half": (ON_STORES, store("put", "lose")),
    "store is slow": (ON_STORES, store("get", "slow")),
    "input changes": (ON_STORES, changed_input),
}
