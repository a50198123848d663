"""Token blocks with a vocabulary, as small as a run needs."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, SENTINELS, Tokenizer
from pipeline.artifacts import finish
from pipeline.tokens.vocabulary import facts_of_model, train

TEXT = "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa."


def write_tokens(directory: Path, make_blocks: Callable[..., TokenBlocks]) -> None:
    """Writes a directory as `mswitch tokenize` does: four languages of 3,000 tokens each."""
    (directory / MODEL_FILE).write_bytes(train(iter([TEXT] * 20), size=380, character_coverage=1.0))
    tokenizer = Tokenizer((directory / MODEL_FILE).read_bytes())
    vocabulary = facts_of_model(tokenizer, directory / MODEL_FILE)
    sizes = dict.fromkeys(("af", "cs", "sw", "zu"), 3000)
    blocks = make_blocks(directory, sizes, ids=tokenizer.first_sentinel - SENTINELS)
    body = msgspec.to_builtins(blocks.manifest) | {"vocabulary": vocabulary}
    finish(directory, "tokenize", {}, {}, body)
