"""`mswitch clean` of 1 and of 10 GB of text on this machine's cores, in at most 4 GB of memory.

    python benchmarks/cleaning/large.py [--rules mc4 mswitch-web] [--gigabytes 1 10] [--kills 5]
        [--folder DIR]

Targets: CPU per page at 10 GB at most 1.15 times that at 1 GB, memory of all processes at most 1.5
times, and with SIGKILL five times the same bytes. The job is the command as a user types it, in a
control group that has no more memory, page cache included. Files are of the size of a crawl's, some
36,000 pages (`grown_web`). 40 GB of disk are needed; each result is written when it is there.

Twice per second: memory of all processes (PSS, which counts a page that processes share once), the
largest one's (RSS), CPU and open files; every ten seconds the bytes below the output. A step begins
where the one before has recorded its last work item, so what an exchange takes counts to the step
that waits for it. The engine counts what each exchange shuffles. A kill comes when a step has begun
to record; the steps are spread over the job. Of a copy of the real pages it is also said how many
fall to the same rule as the real ones, with their lines marked and with their words moved as well.
"""

import contextlib
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grown_web
import psutil
import pyarrow.parquet as pq
import tyro
from apache_beam.metrics.metric import MetricsFilter

from data.demo import member_of
from pipeline import cli
from pipeline.beam.job import NAMESPACE
from pipeline.corpus import clean

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results/large.json"
COPIES_OF_FILE = 10
CONTROL = Path("/sys/fs/cgroup")
MEMORY = 4 << 30
SECONDS = 0.5  # between two looks
LOOKS = 20  # of which one lists the files below the output
LAST = "write"  # the last step: it leaves no records, but files of the corpus
TARGETS = {"cpu_ms_per_page": 1.15, "peak_bytes": 1.5}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is cleaned, and where."""

    rules: tuple[str, ...] = ("mc4", "mswitch-web")
    """Rule sets."""
    gigabytes: tuple[float, ...] = (1, 10)
    """Sizes of the text, the largest last."""
    kills: int = 5
    """Number of times that a further run of the largest size is killed."""
    folder: Path | None = None
    """Directory for input and outputs; the input stays there. A temporary one if left out."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a job takes at a moment.

    Attributes:
        time: in seconds since 1970.
        cpu_seconds: of all its processes so far.
        peak_bytes: PSS of all processes together.
        largest_process_bytes: largest RSS of a process.
        open_files: most files that a process has open.
        disk_bytes: bytes below the output, when they were last counted.
    """

    time: float
    cpu_seconds: float
    peak_bytes: int
    largest_process_bytes: int
    open_files: int
    disk_bytes: int


PEAKS = ("peak_bytes", "largest_process_bytes", "open_files", "disk_bytes")


@dataclass
class Seen:
    """What was seen of a job.

    Attributes:
        looks: in order of time.
        cpu: CPU seconds by process and the time of its start.
        left_bytes: most bytes that a step or exchange has in the workspace, by name.
    """

    looks: list[Look] = field(default_factory=list)
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)
    left_bytes: dict[str, int] = field(default_factory=dict)


def main(arguments: Arguments) -> None:
    """Measures what is asked and adds it to the results."""
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    measured = commit()  # before the results change the checkout
    with contextlib.ExitStack() as opened:
        folder = arguments.folder or Path(opened.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        temporary = opened.enter_context(tempfile.TemporaryDirectory(dir=folder))
        os.environ["TMPDIR"] = temporary  # what killed jobs leave there goes at the end
        print(f"{shutil.disk_usage(folder).free / 1e9:.0f} GB are free below {folder}")
        for rules in arguments.rules:
            result = results[rules] = {"commit": measured}
            result["same_verdicts"] = same_verdicts(rules, folder / "sample")
            for gigabytes in arguments.gigabytes:
                files = grown(folder, gigabytes)
                out = folder / f"{rules}-{gigabytes:g}"
                run = result[f"{gigabytes:g} GB"] = measure(rules, files, out)
                print(rules, gigabytes, json.dumps(run, indent=2), flush=True)
                write(results)
                if gigabytes != arguments.gigabytes[-1]:
                    shutil.rmtree(out)
            result["growth"] = growth([result[f"{size:g} GB"] for size in arguments.gigabytes])
            if arguments.kills:
                again, steps = folder / f"{rules}-killed", [*run["by_step"]]
                chosen = [
                    steps[len(steps) * kill // arguments.kills] for kill in range(arguments.kills)
                ]
                result["killed"] = {"in": killed(rules, files, again, chosen)}
                result["killed"]["same_bytes"] = digests(out) == digests(again)
                shutil.rmtree(again)
            write(results)
            print(rules, result["growth"], result.get("killed"), flush=True)
            shutil.rmtree(out)


def write(results: dict[str, Any]) -> None:
    """Writes what there is of the results."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def growth(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns how much more the largest size takes than the smallest one, beside the targets."""
    return {
        name: {"times": round(runs[-1][name] / runs[0][name], 3), "target": target}
        for name, target in TARGETS.items()
    }


def grown(folder: Path, gigabytes: float) -> list[Path]:
    """Returns files of this much text, which are written unless they are there."""
    copies = round(gigabytes * 1e9 / grown_web.TEXT_BYTES_A_COPY)
    made_by = hashlib.sha256(Path(grown_web.__file__).read_bytes()).hexdigest()[:8]
    place = folder / f"input-{gigabytes:g}-{made_by}"
    if not place.exists():
        unfinished = folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        grown_web.grow(copies, unfinished, files=max(1, copies // COPIES_OF_FILE))
        unfinished.rename(place)
    return sorted(place.iterdir())


def same_verdicts(rules: str, folder: Path) -> dict[str, Any]:
    """Returns how many pages of a copy fall to the rule to which the real pages fall."""
    shutil.rmtree(folder, ignore_errors=True)
    pages, still = grown_web.real_pages(), grown_web.UNMOVED
    written = {  # all at the copy's addresses, by which a line's or a group's page is chosen
        "real": [grown_web.at_address(page, 1) for page in pages],
        "marked": [grown_web.copied(page, 1, still) for page in pages],
        "moved": [grown_web.copied(page, 1, grown_web.orders_of(1)) for page in pages],
    }
    verdicts = {}
    for name, some in written.items():
        file = folder / f"{name}.warc.wet.gz"
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(map(member_of, some)))
        subprocess.run(command(rules, [file], folder / name), check=True, capture_output=True)
        verdicts[name] = verdicts_of(folder / name)
    shutil.rmtree(folder)
    real = verdicts["real"]
    same = {
        f"same_{name}": sum(found.get(url) == verdict for url, verdict in real.items())
        for name, found in verdicts.items()
        if name != "real"
    }
    reasons = {
        name: dict(Counter(found.values()).most_common()) for name, found in verdicts.items()
    }
    return {"pages": len(real), **same, "reasons": reasons}


def verdicts_of(out: Path) -> dict[str, str]:
    """Returns the reason of each page by its address: `kept`, or that of its rejection."""
    found = {}
    for file in sorted(out.glob("pages/**/*.parquet")):
        found |= dict.fromkeys(pq.read_table(file)["url"].to_pylist(), "kept")
    for file in sorted(out.glob("rejected/**/*.parquet")):
        table = pq.read_table(file, columns=["url", "reason"])
        found |= dict(zip(*(table[name].to_pylist() for name in ("url", "reason")), strict=True))
    return found


def command(rules: str, files: Sequence[Path], out: Path) -> list[str]:
    """Returns the command as a user types it."""
    asked = [sys.executable, "-m", "pipeline.cli", "clean", f"--rules={rules}", f"--out={out}"]
    return [*asked, "--input", *map(str, files)]


def noting_command(asked: Sequence[str], shuffled: Path) -> list[str]:
    """Returns a command that also writes how many bytes each exchange shuffled."""
    code = (
        f"import sys; sys.path[:0] = [{str(HERE)!r}]; import large; large.note({str(shuffled)!r})"
    )
    return [asked[0], "-c", code, *asked[3:]]


def note(shuffled: str) -> None:
    """Runs the command line, and writes the bytes of the elements of each exchange."""
    run_job, sums = clean.run_job, Counter[str]()

    def noted(job: Any, options: Any, follow: Any) -> None:
        graphs: list[Any] = []
        run_job(job, options, lambda graph: (follow(graph), graphs.append(graph)))
        for graph in graphs:
            found = graph.result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
            for one in found["distributions"]:
                sums[one.key.metric.name] += one.committed.sum
        Path(shuffled).write_text(json.dumps(sums), encoding="utf-8")

    clean.run_job = noted
    cli.main()


def measure(rules: str, files: Sequence[Path], out: Path) -> dict[str, Any]:
    """Runs the command and returns what it took."""
    shutil.rmtree(out, ignore_errors=True)
    for file in files:  # not in memory beside the limit
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    shuffled = out.parent / f"{out.name}.shuffled"
    seen, ends, began = Seen(), {}, time.time()
    load = os.getloadavg()[0]
    with limited() as limit:
        asked = noting_command(command(rules, files, out), shuffled)
        job = subprocess.Popen(asked, preexec_fn=limit)
        while job.poll() is None:
            look(psutil.Process(job.pid), out, seen)
            ends |= last_records(out)
            time.sleep(SECONDS)
    if job.returncode:
        sys.exit(f"mswitch clean ended with {job.returncode}")
    manifest = json.loads((out / "manifest.json").read_text())
    pages, cpu = manifest["input"]["records"], sum(seen.cpu.values())
    return {
        "load_before": round(load, 2),
        "memory_limit_bytes": MEMORY,
        "files": len(files),
        "input_bytes": sum(file.stat().st_size for file in files),
        "pages": pages,
        "kept": sum(one["kept"] for one in manifest["languages"].values()),
        "seconds": round(time.time() - began),
        "cpu_seconds": round(cpu),
        "cpu_ms_per_page": round(1e3 * cpu / pages, 3),
        **peaks(seen.looks),
        "by_step": by_step(seen.looks, ends, pages),
        "left_bytes": seen.left_bytes,
        "shuffled_bytes": json.loads(shuffled.read_text()),
        "corpus_bytes": sum(sizes_below(out).values()),
    }


def commit() -> str:
    """Returns the commit that is measured, with a plus if files of it were changed."""
    asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def look(job: psutil.Process, out: Path, seen: Seen) -> None:
    """Adds what a job takes at this moment."""
    memory = largest = files = 0
    with contextlib.suppress(psutil.Error):
        for process in [job, *job.children(recursive=True)]:
            with contextlib.suppress(psutil.Error), process.oneshot():
                used, times = process.memory_full_info(), process.cpu_times()
                memory += used.pss
                largest, files = max(largest, used.rss), max(files, process.num_fds())
                seen.cpu[process.pid, process.create_time()] = times.user + times.system
    disk = seen.looks[-1].disk_bytes if seen.looks else 0
    if len(seen.looks) % LOOKS == 0:
        sizes = sizes_below(out)
        disk = sum(sizes.values())
        left = Counter[str]()
        for file, size in sizes.items():
            match file.relative_to(out).parts:
                case "work", _, step, _:
                    left[step.partition(".")[0]] += size
        for step, size in left.items():
            seen.left_bytes[step] = max(size, seen.left_bytes.get(step, 0))
    seen.looks.append(
        Look(
            time=time.time(),
            cpu_seconds=sum(seen.cpu.values()),
            peak_bytes=memory,
            largest_process_bytes=largest,
            open_files=files,
            disk_bytes=disk,
        )
    )


def peaks(looks: Sequence[Look]) -> dict[str, int]:
    """Returns the most of memory, files and disk."""
    return {name: max((getattr(one, name) for one in looks), default=0) for name in PEAKS}


def last_records(out: Path) -> dict[str, float]:
    """Returns when each step recorded its last finished work item."""
    last: dict[str, float] = defaultdict(float)
    for file in out.glob("work/*/*/*.json"):
        with contextlib.suppress(FileNotFoundError):
            last[file.parent.name] = max(last[file.parent.name], file.stat().st_mtime)
    return last


def by_step(looks: Sequence[Look], ends: dict[str, float], pages: int) -> dict[str, Any]:
    """Returns CPU milliseconds per page and peaks, from the end of a step to the next one's."""
    began, before, found = 0.0, 0.0, {}
    for name, end in [*sorted(ends.items(), key=lambda step: step[1]), (LAST, float("inf"))]:
        during = [one for one in looks if began < one.time <= end]
        until = max((one.cpu_seconds for one in during), default=before)
        found[name] = {"cpu_ms_per_page": round(1e3 * (until - before) / pages, 3), **peaks(during)}
        began, before = end, until
    return found


def killed(rules: str, files: Sequence[Path], out: Path, steps: Sequence[str]) -> list[str]:
    """Runs the command, kills all its processes in each of the steps, and ends it.

    Returns the steps in which it was killed; one that ends before its kill is not among them.
    """
    shutil.rmtree(out, ignore_errors=True)
    asked, drawn, done = command(rules, files, out), random.Random(0), []
    with limited() as limit:
        for step in steps:
            job = subprocess.Popen(asked, start_new_session=True, preexec_fn=limit)
            while job.poll() is None and not has_begun(out, step):
                time.sleep(SECONDS)
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(drawn.uniform(0, 10))
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                done.append(step)
            job.wait()
        subprocess.run(asked, check=True, preexec_fn=limit)
    return done


def has_begun(out: Path, step: str) -> bool:
    """Whether a step has finished a work item."""
    place = "pages/*/*.parquet" if step == LAST else f"work/*/{step}/*.json"
    return any(True for _ in out.glob(place))


@contextlib.contextmanager
def limited() -> Iterator[Any]:
    """Yields what a child calls first to have no more memory than the limit."""
    group = CONTROL / "memory" / "mswitch-large"
    limit = group / "memory.limit_in_bytes"
    if not (CONTROL / "memory").exists():
        group, limit = CONTROL / "mswitch-large", CONTROL / "mswitch-large/memory.max"
    try:
        group.mkdir(exist_ok=True)
        limit.write_text(str(MEMORY))
    except OSError as error:
        sys.exit(f"memory cannot be limited: {error}")
    yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    with contextlib.suppress(OSError):  # processes that were killed may not be gone
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
    for file in sizes_below(out):
        with file.open("rb") as opened:
            found[str(file.relative_to(out))] = hashlib.file_digest(opened, "sha256").hexdigest()
    assert found, f"no file is below {out}"
    return found


if __name__ == "__main__":
    main(tyro.cli(Arguments))
