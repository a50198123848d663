"""mT5's shape without its weights: random ones, a vocabulary of as many pieces, made text.

No piece or weight is mT5's. Two languages have words of their own; the other pieces are theirs
who are not asked for.
"""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from made_vocabulary import unigram
from safetensors.numpy import save_file

from data.files.json_files import write_json
from data.tokens.shards import TokenizedPage, manifest_entry, token_dtype, write_shard
from data.tokens.tokenizer import MODEL_FILE, Tokenizer
from model.config import ModelConfig
from model.hugging_face.config import export_config
from model.hugging_face.weights import exported_shapes
from pipeline.artifacts import finish
from pipeline.recipe.named import RECIPES
from pipeline.tokens.vocabulary import facts_of_model

IDS = 250_100  # of mT5, 3 control pieces, 256 bytes and 100 sentinels among them
LETTERS = "abdefghijklmnoprstuvwyz"
WORDS = 8_000  # per language
PAGE = 400  # tokens


def mt5_small(**sizes: int) -> ModelConfig:
    """Returns mT5-Small's configuration, with other sizes if some are given."""
    return replace(RECIPES["mt5-small"]().model, **sizes)


def vocabulary() -> bytes:
    """Returns a model of as many pieces as mT5: letters, then words of four and of five."""
    words = itertools.chain.from_iterable(itertools.product(LETTERS, repeat=n) for n in (4, 5))
    names = itertools.chain(
        ("\u2581", *LETTERS), ("\u2581" + "".join(letters) for letters in words)
    )
    pieces = itertools.islice(names, IDS - 3 - 256 - 100)
    return unigram({name: -8 - number / 2**15 for number, name in enumerate(pieces)})


def write_model(directory: Path, config: ModelConfig) -> None:
    """Writes a directory as `save_pretrained` does, with random weights."""
    directory.mkdir()
    write_json(directory / "config.json", export_config(config, 64, 14))
    (directory / "spiece.model").write_bytes(vocabulary())
    generator = np.random.default_rng(0)
    weights = {
        name: 0.05 * generator.standard_normal(shape, np.float32)
        for name, shape in exported_shapes(config).items()
    }
    save_file(weights, directory / "model.safetensors")


def write_tokens(directory: Path, model: Path) -> None:
    """Writes tokens of two languages, each of words of its own; held-out text has no others."""
    directory.mkdir()
    (directory / MODEL_FILE).write_bytes(model.read_bytes())
    tokenizer = Tokenizer(model.read_bytes())
    dtype = token_dtype(tokenizer.size)
    generator = np.random.default_rng(1)
    entries: dict[str, Any] = {}
    for number, code in enumerate(("sw", "yo")):
        first = 100_000 + number * WORDS
        words = np.concatenate([np.arange(WORDS), generator.integers(0, WORDS, 2 * WORDS)])
        tokens = (first + generator.permutation(words)).astype(np.int32)
        held_out = (first + generator.integers(0, WORDS, 4 * PAGE)).astype(np.int32)
        entries[code] = {
            split: manifest_entry(
                [write_shard(directory, f"{code}/{split}-00000-of-00001", pages, dtype)]
            )
            for split, pages in (
                ("train", _pages(code, tokens)),
                ("validation", _pages(code, held_out)),
            )
        }
    facts = facts_of_model(tokenizer, directory / MODEL_FILE)
    body = {"token_dtype": dtype.str, "vocabulary": facts, "languages": entries}
    finish(directory, "tokenize", {}, {}, msgspec.to_builtins(body))


def _pages(code: str, tokens: np.ndarray) -> list[TokenizedPage]:
    return [
        TokenizedPage(f"https://{code}.example/{start}", tokens[start : start + PAGE], 2000, 2000)
        for start in range(0, len(tokens), PAGE)
    ]
