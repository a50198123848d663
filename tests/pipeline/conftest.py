"""Token blocks with a vocabulary, a pretrained run and a report; all only to be read."""

import fcntl
import os
from pathlib import Path

import msgspec
import pytest

from data.stores.digests import digest_of_contents
from data.tokens.tokenizer import MODEL_FILE, SENTINELS, Tokenizer
from pipeline.arguments import Pretrain
from pipeline.artifacts.claims import MANIFEST, finish
from pipeline.vocabulary import train

TEXT = "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa."


@pytest.fixture(scope="session")
def tokens(tmp_path_factory, make_blocks) -> Path:
    """A directory as `mswitch tokenize` writes it: four languages of 3,000 tokens each."""
    directory = tmp_path_factory.mktemp("tokens")
    (directory / MODEL_FILE).write_bytes(train(iter([TEXT] * 20), size=380, character_coverage=1.0))
    tokenizer = Tokenizer((directory / MODEL_FILE).read_bytes())
    vocabulary = {
        "vocabulary_size": tokenizer.size,
        "vocabulary_rows": tokenizer.rows,
        "first_sentinel": tokenizer.first_sentinel,
        "byte_ids": [tokenizer.byte_ids.start, tokenizer.byte_ids.stop],
        "sha256": digest_of_contents(directory / MODEL_FILE),
    }
    sizes = dict.fromkeys(("af", "cs", "sw", "zu"), 3000)
    blocks = make_blocks(directory, sizes, ids=tokenizer.first_sentinel - SENTINELS)
    finish(
        directory,
        "tokenize",
        {},
        {},
        msgspec.to_builtins(blocks.manifest) | {"vocabulary": vocabulary},
    )
    return directory


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The report of two synthetic runs per side in `out/`, the runs beside it."""
    from synthetic_runs import write_report  # the plotting libraries, which few tests need

    return write_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, tokens) -> Path:
    """A finished switch run of twelve steps on eight devices.

    All workers of a session share it: the first to request it trains it. Every worker's `tokens`
    have the same bytes.
    """
    from training_runs import SETTINGS  # JAX, which many tests do without

    from pipeline import pretrain

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with (root / "pretrained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "pretrained" / MANIFEST).exists():
            asked = {"recipe": "switch-demo", "tokens": str(tokens), "overrides": SETTINGS}
            pretrain.run(Pretrain(out=root / "pretrained", **asked))
    return root / "pretrained"
