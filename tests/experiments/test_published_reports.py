"""Each published report is recomputed from its evaluations by the command that its page gives."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
COMMAND = re.compile(r"^    (python \.ci/recompute_report\.py(?:.*\\\n)*.*)$", re.MULTILINE)
PLACE = re.compile(r"recompute_report\.py docs/results/(\S+)")


def commands():
    """Yields the commands of all pages, as a shell takes them."""
    for page in sorted(RESULTS.glob("*.md")):
        yield from COMMAND.findall(page.read_text())


def test_every_report_has_its_command():
    reports = {path.parent.name for path in RESULTS.glob("*/report.json")}
    recomputed = {PLACE.search(command)[1] for command in commands()}
    assert recomputed == reports


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(), ids=lambda one: PLACE.search(one)[1])
def test_a_published_report_agrees_with_its_evaluations(command):
    here = command.replace("python ", f"{sys.executable} ", 1)
    done = subprocess.run(
        ["bash", "-c", here], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    assert "equal to 1e-9" in done.stdout
