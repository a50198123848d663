"""The same pages and the same tokens, byte for byte, on every runner.

Four places: this process, two processes, Prism with the launcher's process as worker, and Prism
with workers of another virtual environment that holds only the wheel, started in another folder.
The last shows that nothing depends on shared memory, on the launching folder (all paths here are
relative to it) or on an import that only the launcher made. Clusters: `flink/`, `spark/`.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def places(on_prism, worker_pool) -> dict[str, list[str]]:
    return {
        "two": ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
        "loopback": on_prism(""),
        "elsewhere": on_prism(worker_pool),
    }


def test_there_is_something_to_compare(home, written_by_one):
    files = written_by_one
    for part in (
        "mswitch-web/pages/",
        "mc4/rejected/",
        "mswitch-web/rejected/",
        "mc4-two/delta/",
        "mswitch-web-two/growth/",
        "tokens/",
        "scores/pages/",
        "selected/pages/",
        "selected/rejected/",
    ):
        assert any(name.startswith(part) for name in files), part
    manifest = json.loads((home / "one/tokens/manifest.json").read_text())
    assert sum(entry["train"]["tokens"] for entry in manifest["languages"].values()) > 10_000
    assert not any("work" in name.split("/") for name in files)  # the workspace is gone


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("two", marks=pytest.mark.slow),
        pytest.param("loopback", marks=pytest.mark.slow),
        "elsewhere",  # Prism as in the place before, and more is foreign to its workers
    ],
)
def test_another_place_writes_the_same_bytes(written_by_one, written, places, place):
    assert written(place, places[place]) == written_by_one


def test_what_the_worker_image_checks_holds_in_the_workers_environment(worker_python):
    """The image is not built here; its last step runs this check on the same wheel and extras."""
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    checks = re.findall(r'python -c "([^"]+)"', image)
    assert len(checks) == 3
    for check in checks:
        subprocess.run([worker_python, "-c", check], cwd="/", check=True)


def test_workers_elsewhere_do_not_see_this_checkout(worker_pool, home, python, on_prism):
    """Otherwise the test above would show nothing: the launcher's own packages are absent there."""
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "import apache_beam as beam, only_here\n"
        "from pipeline.beam.options import pipeline_for, pipeline_options\n"
        "with pipeline_for(pipeline_options(sys.argv[1:])) as pipeline:\n"
        "    pipeline | beam.Create([1]) | beam.Map(only_here.double)\n"
    )
    (home / "only_here.py").write_text("def double(x):\n    return 2 * x\n")
    there = python(code, *on_prism(worker_pool), cwd=home)
    assert there.returncode != 0
    assert "No module named 'only_here'" in there.stderr
    assert python(code, *on_prism(""), cwd=home).returncode == 0
