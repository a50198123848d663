"""Token blocks with a vocabulary, a pretrained run and a report; all only to be read."""

import fcntl
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_tokens import write_tokens

from pipeline.artifacts import MANIFEST
from pipeline.commands.pretrain import Pretrain

FIXTURE = Path(__file__).parents[1] / "fixture"


@pytest.fixture(scope="session")
def tokens(tmp_path_factory, make_blocks) -> Path:
    """A directory as `mswitch tokenize` writes it: four languages of 3,000 tokens each."""
    directory = tmp_path_factory.mktemp("tokens")
    write_tokens(directory, make_blocks)
    return directory


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory) -> Path:
    """What commands of an earlier version made of some web pages (`tests/fixture/README.md`)."""
    directory = tmp_path_factory.mktemp("artifacts")
    with tarfile.open(FIXTURE / "artifacts.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Iterator[Path]:
    """The report of two synthetic runs per side in `out/`, the runs beside it."""
    from synthetic_runs import write_report  # the plotting libraries, which few tests need

    directory = write_report(tmp_path_factory.mktemp("report"))
    written = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    yield directory
    # A test that writes here changes what another finds, depending on their order.
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == written


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """Makes the runs of a module share a trainer where their recipes are equal."""
    from training_runs import one_trainer_per_recipe

    with one_trainer_per_recipe():
        yield


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, tokens) -> Path:
    """A finished switch run of twelve steps on eight devices.

    All workers of a session share it: the first to request it trains it. Every worker's `tokens`
    have the same bytes.
    """
    # JAX, which many tests do without.
    from training_runs import SETTINGS, one_trainer_per_recipe

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with (root / "pretrained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "pretrained" / MANIFEST).exists():
            asked = {"recipe": "switch-demo", "tokens": str(tokens), "overrides": SETTINGS}
            with one_trainer_per_recipe():
                Pretrain(out=root / "pretrained", **asked).execute()
    return root / "pretrained"
