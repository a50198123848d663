"""Eight simulated devices, set before JAX is imported; and small token blocks.

Compiled programs are kept in build/compiled for all processes of this and of later sessions: many
train, resume and evaluate the same steps. Their keys are what was compiled, for what and by what.
One that a killed process left unfinished cannot be read, and is compiled again.
"""

import gc
import os
import shutil
import tarfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # Most of the time of these tests is compilation; programs this small need no optimizing.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)
if metadata.version("jaxlib").startswith("0.10."):  # later versions abort on the unknown flag
    # 3.3 instead of 6.5 CPU-seconds for a small train step
    FLAGS += ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *FLAGS)).strip()
MOST_COMPILED = 2 * 2**30  # bytes; the programs of one version take about a tenth

if "PYTEST_XDIST_WORKER" not in os.environ:  # inherited by workers and their processes
    COMPILED = Path(__file__).parents[1] / "build/compiled"
    with suppress(FileNotFoundError):  # another session has just removed it
        if sum(file.stat().st_size for file in COMPILED.glob("*")) > MOST_COMPILED:
            shutil.rmtree(COMPILED)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(COMPILED)
    # A start of a run compiles 70 programs of less than 0.1 s, which take 1.5 s of its 9.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# These tests need servers that `make engines` builds.
collect_ignore = [] if "MSWITCH_ENGINES" in os.environ else ["engines"]

from collections.abc import Callable, Iterator

import pytest
import small_blocks
from chromium import CHROMIUM, Browser
from hypothesis import settings

from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, Tokenizer

# No deadline for an example: a busy machine must not fail a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Each of two workers takes one file at a time: the longest first, or one worker ends alone with
# them. These are beginnings of paths below tests/, so that they hold when a file is split.
LONGEST_FIRST = (
    "benchmarks/test_smallest_sizes",  # of the slow ones a third of all time, in one file
    "pipeline/commands/training/test_pretrain",
    "pipeline/commands/training/test_upcycle",  # needs no run that test_pretrain trains meanwhile
    "model/test_step",
    "pipeline/commands/training/test_finetune",
    "pipeline/commands/training/test_distill",
    "pipeline/commands/terminal/test_whole_way",
    "pipeline/commands/training/test_changed_runs",
    "pipeline/commands/cleaning/test_add_crawl",
    "model/conversions/",
    "pipeline/commands/training/test_prune",
    "pipeline/commands/terminal/test_plan",
    "model/switch/test_switch_layer",
    "pipeline/commands/tokens/",
    "pipeline/training/",
    "model/",
    "pipeline/commands/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(tests).as_posix()
        ranks = (number for number, start in enumerate(LONGEST_FIRST) if path.startswith(start))
        return next(ranks, len(LONGEST_FIRST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Hides what was imported from the garbage collector, which saves 10 % of a traced step."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


@pytest.fixture(scope="session")
def make_blocks() -> Callable[..., TokenBlocks]:
    """Returns a function that writes small token blocks."""
    return small_blocks.make_blocks


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yields a headless Chromium; tests that open a report are skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: no browser opens the report")
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Returns the tokenizer of the fixture's runs."""
    with tarfile.open(Path(__file__).parent / "fixture/artifacts.tar.xz") as archive:
        name = next(name for name in archive.getnames() if name.endswith(MODEL_FILE))
        member = archive.extractfile(name)
        assert member is not None
        return Tokenizer(member.read())
