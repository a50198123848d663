"""All damage in one job: it finishes in bounded memory and lists every loss."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from damaged_archives import BAD, GOOD, bomb, member, record

REASONS = {
    "cut": "unreadable",
    "garbage": "unreadable",
    "zeros": "unreadable",
    "checksum": "unreadable",
    "not_utf8": "invalid_utf8",
    "utf16": "invalid_utf8",
    "surrogate": "invalid_utf8",
    "no_record": "unreadable",
    "empty_member": None,  # nothing is lost
    "too_long_a_length": "truncated",
    "enormous_length": "too_large",
    "html_error": "unreadable",
}
WHOLE = {
    "a_line_of_5_MB": member("line", b"x" * 5_000_000),
    "270,000 lines": member("lines", "\n".join(map(str, range(270_000))).encode()),
    "like headers": member("like", b"Habari\nWARC/1.1 is a format\nContent-Length: 3\nya"),
}
MEGABYTES = 700  # the job alone takes about 400; each bomb would decompress to 300
MEASURED = """
import atexit, re, sys
from pathlib import Path
from pipeline import cli
# Not getrusage: its maximum is inherited from whoever started the process.
status = Path("/proc/self/status")
atexit.register(lambda: print(*re.findall(r"VmHWM:\\s+(\\d+)", status.read_text())))
cli.main(sys.argv[1:])
"""
Losses = set[tuple[str, int, str]]


@pytest.fixture(scope="module")
def losses(tmp_path_factory) -> tuple[Path, Losses]:
    """The archives, and their losses with their places."""
    directory = tmp_path_factory.mktemp("raw") / "crawl"
    directory.mkdir()
    lost: Losses = set()
    content = b""
    for name, bad in BAD.items():
        content += GOOD[0]
        if reason := REASONS[name]:
            lost.add(("crawl/between.wet.gz", len(content), reason))
        content += bad
    (directory / "between.wet.gz").write_bytes(content + GOOD[1] + b"".join(WHOLE.values()))
    declared = bomb(record("b", b"", length=300 << 20)[:-4])
    (directory / "bomb.wet.gz").write_bytes(GOOD[2] + declared + GOOD[3])
    lost.add(("crawl/bomb.wet.gz", len(GOOD[2]), "too_large"))
    line = b'{"text": "cut\n'
    (directory / "bomb.jsonl.gz").write_bytes(gzip.compress(line) + bomb(b'{"text": "'))
    lost |= {
        ("crawl/bomb.jsonl.gz", 0, "not_json"),
        ("crawl/bomb.jsonl.gz", len(line), "too_large"),
    }
    (directory / "plain.wet.gz").write_bytes(record("plain", b"Habari ya asubuhi"))
    (directory / "empty.wet.gz").write_bytes(b"")
    lost.add(("crawl/empty.wet.gz", 0, "truncated"))
    return directory, lost


def test_every_kind_of_damage_is_a_loss_with_its_place(losses, tmp_path):
    directory, lost = losses
    out = tmp_path / "out"
    asked = ["clean", f"--input={directory}/*.gz", "--rules=none", f"--out={out}"]
    command = [sys.executable, "-c", MEASURED, *asked, "--", "--direct_running_mode=in_memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2  # as no page declares a language
    listed = pq.read_table(out / "broken").to_pylist()
    assert {(row["file"], row["offset"], row["reason"]) for row in listed} == lost
    assert len(listed) == len(lost)
    manifest = json.loads((out / "manifest.json").read_text())
    assert sum(one["count"] for one in manifest["broken_records"].values()) == len(lost)
    kept = pq.read_table(out / "pages")["url"].to_pylist()
    assert kept.count("http://good0.example/") == len(BAD)
    names = ("good1", "good2", "good3", "line", "lines", "like", "plain")
    assert set(kept) == {f"http://{name}.example/" for name in ("good0", *names)}
    assert int(done.stdout.split()[-1]) < MEGABYTES << 10  # kilobytes
