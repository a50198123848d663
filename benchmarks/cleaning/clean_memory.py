"""Peak memory of `mswitch clean` by size of the input, summed over all its processes.

Targets: at 1 GB of text at most 1.3 times the peak at 250 MB, and under 2 GB. Memory is PSS, which
counts a page that processes share once; it is sampled five times per second. The job is the command
as a user types it, with both cores.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grown_web

RESULTS = Path(__file__).parents[1] / "results/clean_memory.json"
TEXT_BYTES = (250_000_000, 1_000_000_000)


def main() -> None:
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    with tempfile.TemporaryDirectory() as name:
        directory, results = Path(name), []
        files = grown_web.grow(max(TEXT_BYTES) // grown_web.TEXT_BYTES_A_COPY, directory)
        for size in TEXT_BYTES:
            some = files[: size // grown_web.TEXT_BYTES_A_COPY]
            results.append({"text_bytes": size} | measure(some, directory / f"out-{size}"))
            print(results[-1])
    ratio = results[-1]["peak_bytes"] / results[0]["peak_bytes"]
    print(f"peak at 1 GB, times the peak at 250 MB: {ratio:.2f}")
    result = {"runs": results, "ratio": ratio}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(files: list[Path], out: Path) -> dict[str, float]:
    """Runs the command and returns its peak."""
    command = [sys.executable, "-m", "pipeline.cli", "clean", "--rules=mc4", f"--out={out}"]
    started, peak = time.monotonic(), 0
    job = subprocess.Popen([*command, "--input", *map(str, files)])
    while job.poll() is None:
        peak = max(peak, sum(map(proportional_set_size, with_descendants(job.pid))))
        time.sleep(0.2)
    if job.returncode:
        sys.exit(f"mswitch clean ended with {job.returncode}")
    return {"peak_bytes": peak, "seconds": time.monotonic() - started}


def with_descendants(process: int) -> list[int]:
    """Returns the process and all its descendants."""
    found = [process]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it ended during the sample
    return found


def proportional_set_size(process: int) -> int:
    """Returns bytes of memory, with shared pages in proportion (PSS)."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().split("\n")
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
