"""Eight simulated devices, set before anything imports JAX; and small token blocks to read.

What is compiled in one session is kept for that session, for all its processes: the same steps are
trained, resumed and evaluated in many of them. Nothing is taken from an earlier session.
"""

import atexit
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # Compiling is most of what these tests do; programs this small need no optimising.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)
os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *FLAGS)).strip()

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers, and what they start, inherit it
    compiled = tempfile.mkdtemp(prefix="mswitch-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

# They need servers that `make engines` builds, and run with it alone.
collect_ignore = [] if "MSWITCH_ENGINES" in os.environ else ["engines"]

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from data.tokens.blocks import TokenBlocks, TokenizedPage, manifest_entry, token_dtype, write_shard

# No example is timed: a busy machine must not fail a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Two workers take a file each: the longest first, or one worker ends alone with them. test_distill
# and test_pretrain train the same teacher, which is compiled once if they do not begin together.
LONGEST_FIRST = (
    "test_pretrain.py",
    "test_train_step.py",
    "test_distill.py",
    "test_whole_way.py",
    "test_plan.py",
    "test_switch_layer.py",
    "test_tokenize.py",
    "test_distillation.py",
    "test_accumulation.py",
    "test_trouble.py",
    "test_clean_resume.py",
)

VOCABULARY = {
    "vocabulary_size": 1024,
    "vocabulary_rows": 1024,
    "first_sentinel": 1023,
    "byte_ids": [3, 259],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def make_blocks() -> Callable[..., TokenBlocks]:
    """Returns a function that writes small token blocks."""
    return _make_blocks


def _make_blocks(
    directory: Path, tokens: dict[str, int], page_tokens: int = 300, ids: int = 903
) -> TokenBlocks:
    """Blocks with `tokens` training tokens a language in two shards, and a tenth held out."""
    dtype = token_dtype(1024)
    entries = {}
    for number, (language, count) in enumerate(tokens.items()):
        stream = 3 + (np.arange(count) * 7 + number) % (ids - 3)
        pages = [
            TokenizedPage(f"https://{language}.example/{start}", part, 3 * len(part), 2 * len(part))
            for start in range(0, count, page_tokens)
            if len(part := stream[start : start + page_tokens])
        ]
        half = len(pages) // 2
        entries[language] = {
            "train": manifest_entry(
                write_shard(directory, f"{language}/train-{i:05d}-of-00002", part, dtype)
                for i, part in enumerate((pages[:half], pages[half:]))
            ),
            "validation": manifest_entry(
                [write_shard(directory, f"{language}/validation-00000-of-00001", pages[:2], dtype)]
            ),
        }
    manifest = {"token_dtype": dtype.str, "vocabulary": VOCABULARY, "languages": entries}
    return TokenBlocks(directory, manifest)
