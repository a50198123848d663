"""`mswitch clean` of 1 and of 10 GB of text on this machine's cores, in at most 4 GB of memory.

    python benchmarks/cleaning/large.py [--rules mc4 mswitch-web] [--gigabytes 1 10] [--kills 5]
        [--folder DIR]

Targets: CPU per page at 10 GB at most 1.15 times that at 1 GB, memory of all processes at most 1.5
times, and with SIGKILL five times the same bytes. The job is the command as a user types it, in a
control group that has no more memory, page cache included, where this machine lets one be made.
Files are of the size of a crawl's, some 36,000 pages (`grown_web`).

Twice per second: memory of all processes (PSS, which counts a page that processes share once), each
one's largest (RSS), CPU, open files, and bytes below the output, those that steps and exchanges
leave in the workspace by name. A step begins where the one before has recorded its last work item,
so the CPU of an exchange counts to the step that waits for it. Of a copy of the real pages it is
also said how many pages fall to the same rule as the real ones.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grown_web
import psutil
import pyarrow.parquet as pq
import tyro

from data.demo import member_of

RESULTS = Path(__file__).parents[1] / "results/large.json"
COPIES_OF_FILE = 10
CONTROL = Path("/sys/fs/cgroup")
MEMORY = 4 << 30
SECONDS = 0.5  # between two looks


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is cleaned, and where."""

    rules: tuple[str, ...] = ("mc4", "mswitch-web")
    """Rule sets."""
    gigabytes: tuple[int, ...] = (1, 10)
    """Sizes of the text."""
    kills: int = 5
    """Number of times that a further run of the largest size is killed."""
    folder: Path | None = None
    """Directory for input and outputs; the input stays there. A temporary one if left out."""


@dataclass
class Seen:
    """What was seen of a job.

    Attributes:
        peak_bytes: largest PSS of all processes together.
        largest_process_bytes: largest RSS of a process.
        open_files: most files that a process had open.
        disk_bytes: most bytes below the output.
        left_bytes: most bytes that a step or exchange has in the workspace, by name.
        cpu: CPU seconds by process.
        line: CPU seconds of all processes by time.
    """

    peak_bytes: int = 0
    largest_process_bytes: int = 0
    open_files: int = 0
    disk_bytes: int = 0
    left_bytes: dict[str, int] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    line: list[tuple[float, float]] = field(default_factory=list)


def main(arguments: Arguments) -> None:
    """Measures what is asked and adds it to the results."""
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with contextlib.ExitStack() as opened:
        folder = arguments.folder or Path(opened.enter_context(tempfile.TemporaryDirectory()))
        print(f"{shutil.disk_usage(folder).free / 1e9:.0f} GB are free below {folder}")
        for rules in arguments.rules:
            result = results.setdefault(rules, {})
            result["same_verdicts"] = same_verdicts(rules, folder / "sample")
            for gigabytes in arguments.gigabytes:
                files = grown(folder, gigabytes)
                out = folder / f"{rules}-{gigabytes}"
                run = result[f"{gigabytes} GB"] = measure(rules, files, out)
                print(rules, gigabytes, json.dumps(run, indent=2), flush=True)
            if arguments.kills:
                again = folder / f"{rules}-killed"
                result["killed"] = killed(rules, files, again, run["seconds"], arguments.kills)
                result["killed"]["same_bytes"] = digests(out) == digests(again)
                print(rules, result["killed"])
                shutil.rmtree(again)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def grown(folder: Path, gigabytes: int) -> list[Path]:
    """Returns files of this much text, which are written unless they are there."""
    copies = round(gigabytes * 1e9 / grown_web.TEXT_BYTES_A_COPY)
    place = folder / f"input-{gigabytes}"
    if not place.exists():
        unfinished = folder / "unfinished"
        unfinished.mkdir(parents=True)
        grown_web.grow(copies, unfinished, files=copies // COPIES_OF_FILE)
        unfinished.rename(place)
    return sorted(place.iterdir())


def same_verdicts(rules: str, folder: Path) -> dict[str, Any]:
    """Returns how many pages of a copy fall to the rule to which the real pages fall."""
    pages, orders = grown_web.real_pages(), grown_web.orders_of(1)
    copies = [grown_web.copied(page, 1, orders) for page in pages]
    verdicts = []
    for name, written in (("real", pages), ("copy", copies)):
        file = folder / f"{name}.warc.wet.gz"
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(map(member_of, written)))
        subprocess.run(command(rules, [file], folder / name), check=True, capture_output=True)
        verdicts.append(verdicts_of(folder / name))
    shutil.rmtree(folder)
    real, copy = verdicts
    same = sum(copy.get(f"{url}?copy=1") == verdict for url, verdict in real.items())
    reasons = [dict(Counter(found.values()).most_common()) for found in verdicts]
    return {"pages": len(real), "same": same, "real": reasons[0], "copy": reasons[1]}


def verdicts_of(out: Path) -> dict[str, str]:
    """Returns the reason of each page by its address: `kept`, or that of its rejection."""
    found = {}
    for file in sorted(out.glob("pages/**/*.parquet")):
        found |= dict.fromkeys(pq.read_table(file)["url"].to_pylist(), "kept")
    for file in sorted(out.glob("rejected/**/*.parquet")):
        table = pq.read_table(file, columns=["url", "reason"])
        found |= dict(zip(*(table[name].to_pylist() for name in ("url", "reason")), strict=True))
    return found


def command(rules: str, files: list[Path], out: Path) -> list[str]:
    """Returns the command as a user types it."""
    asked = [sys.executable, "-m", "pipeline.cli", "clean", f"--rules={rules}", f"--out={out}"]
    return [*asked, "--input", *map(str, files)]


def measure(rules: str, files: list[Path], out: Path) -> dict[str, Any]:
    """Runs the command and returns what it took."""
    shutil.rmtree(out, ignore_errors=True)
    seen, steps, began = Seen(), {}, time.time()
    with limited() as limit:
        job = subprocess.Popen(command(rules, files, out), preexec_fn=limit)
        while job.poll() is None:
            look(psutil.Process(job.pid), out, seen)
            steps |= last_records(out)
            time.sleep(SECONDS)
    if job.returncode:
        sys.exit(f"mswitch clean ended with {job.returncode}")
    manifest = json.loads((out / "manifest.json").read_text())
    pages, cpu = manifest["input"]["records"], sum(seen.cpu.values())
    named = dataclasses.asdict(seen)
    del named["cpu"], named["line"]
    return {
        "memory_limit_bytes": MEMORY if limit else None,
        "files": len(files),
        "input_bytes": sum(file.stat().st_size for file in files),
        "pages": pages,
        "seconds": round(time.time() - began),
        "cpu_seconds": round(cpu),
        "cpu_ms_per_page": round(1e3 * cpu / pages, 3),
        "cpu_ms_per_page_by_step": by_step(seen, steps, pages),
        **named,
        "corpus_bytes": sum(sizes_below(out).values()),
    }


def look(job: psutil.Process, out: Path, seen: Seen) -> None:
    """Adds what a job takes at this moment."""
    memory = 0
    with contextlib.suppress(psutil.Error):
        for process in [job, *job.children(recursive=True)]:
            with contextlib.suppress(psutil.Error), process.oneshot():
                used, times = process.memory_full_info(), process.cpu_times()
                memory += used.pss
                seen.largest_process_bytes = max(seen.largest_process_bytes, used.rss)
                seen.open_files = max(seen.open_files, process.num_fds())
                seen.cpu[process.pid] = times.user + times.system
    seen.peak_bytes = max(seen.peak_bytes, memory)
    sizes = sizes_below(out)
    seen.disk_bytes = max(seen.disk_bytes, sum(sizes.values()))
    left = Counter[str]()
    for file, size in sizes.items():
        match file.relative_to(out).parts:
            case "work", _, step, _:
                left[step.partition(".")[0]] += size
    for step, size in left.items():
        seen.left_bytes[step] = max(size, seen.left_bytes.get(step, 0))
    seen.line.append((time.time(), sum(seen.cpu.values())))


def last_records(out: Path) -> dict[str, float]:
    """Returns when each step recorded its last finished work item."""
    last: dict[str, float] = defaultdict(float)
    for file in out.glob("work/*/*/*.json"):
        with contextlib.suppress(FileNotFoundError):
            last[file.parent.name] = max(last[file.parent.name], file.stat().st_mtime)
    return last


def by_step(seen: Seen, steps: dict[str, float], pages: int) -> dict[str, float]:
    """Returns CPU milliseconds per page, from the end of one step to the end of the next."""
    ends = [*sorted(steps.items(), key=lambda step: step[1]), ("end", float("inf"))]
    before, shares = 0.0, {}
    for name, end in ends:
        until = max((cpu for moment, cpu in seen.line if moment <= end), default=0.0)
        shares[name] = round(1e3 * (until - before) / pages, 3)
        before = until
    return shares


def killed(rules: str, files: list[Path], out: Path, seconds: float, kills: int) -> dict[str, Any]:
    """Runs the command, kills all its processes at random moments, and ends it."""
    shutil.rmtree(out, ignore_errors=True)
    moments, drawn = [], random.Random(0)
    for _ in range(kills):
        job = subprocess.Popen(command(rules, files, out), start_new_session=True)
        moments.append(round(drawn.uniform(0.05, 0.95) * seconds / kills, 1))
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(moments[-1])
            sys.exit(f"mswitch clean ended with {job.returncode} before its kill")
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    subprocess.run(command(rules, files, out), check=True)
    return {"after_seconds": moments}


@contextlib.contextmanager
def limited() -> Iterator[Any]:
    """Yields what a child calls first to have no more memory than the limit; None if it cannot."""
    group = CONTROL / "memory" / "mswitch-large"
    limit = group / "memory.limit_in_bytes"
    if not (CONTROL / "memory").exists():
        group, limit = CONTROL / "mswitch-large", CONTROL / "mswitch-large/memory.max"
    try:
        group.mkdir(exist_ok=True)
        limit.write_text(str(MEMORY))
    except OSError as error:
        print(f"memory is not limited: {error}", file=sys.stderr)
        yield None
        return
    yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    group.rmdir()


def sizes_below(folder: Path) -> dict[Path, int]:
    """Returns the size in bytes of each file below a folder."""
    sizes = {}
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if file.is_file():
                sizes[file] = file.stat().st_size
    return sizes


def digests(out: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file, by its path below the output."""
    found = {}
    for file in sorted(out.rglob("*.parquet")):
        with file.open("rb") as opened:
            found[str(file.relative_to(out))] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


if __name__ == "__main__":
    main(tyro.cli(Arguments))
