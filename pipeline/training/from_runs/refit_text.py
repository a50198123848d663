"""Training text of some languages, to fit the experts of a pruned network on.

Windows lie evenly over a language's training tokens, each language has as many, and their spans are
hidden as those of held-out pages are. Held-out pages are never read here.
"""

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from data.examples.held_out_batches import HeldOutPage, batches
from data.examples.span_corruption import Lengths
from data.tokens.blocks import TokenBlocks
from data.tokens.shards import TokenizedPage
from model.batch import Batch
from pipeline.errors import ArtifactError
from pipeline.hardware.batch_rows import to_devices

WINDOWS = 128  # per language (docs/decisions/pruning.md)
ROWS = 32


def check_has_text(blocks: TokenBlocks, languages: Sequence[str]) -> None:
    """Checks that there is training text of every language.

    Raises:
        ArtifactError: if one has none.
    """
    there = blocks.languages("train")
    if missing := [code for code in languages if code not in there]:
        raise ArtifactError(
            f"Experts were to be fitted on text of {', '.join(missing)}, of which "
            f"{blocks.address} has no training tokens; name other tokens, or leave --tokens out."
        )


def refit_batches(
    blocks: TokenBlocks, languages: Sequence[str], lengths: Lengths, mesh: Mesh
) -> list[Batch]:
    """Returns corrupted windows of training text, in batches on a mesh.

    Args:
        blocks: token blocks.
        languages: languages with training tokens.
        lengths: lengths of a window.
        mesh: one device.
    """
    parts = [part for code in languages for part in _windows(blocks, code, lengths.raw, WINDOWS)]
    sentinel = blocks.manifest.vocabulary.first_sentinel
    return [
        to_devices({"inputs": one.inputs, "targets": one.targets, "language": one.page}, mesh, ROWS)
        for one in batches(parts, lengths, first_sentinel=sentinel, rows=ROWS)
    ]


def _windows(blocks: TokenBlocks, code: str, raw: int, most: int) -> list[HeldOutPage]:
    """Returns windows of a language as pages, whose names seed the hidden spans."""
    stream = blocks.stream(code, "train")
    count = min(most, max(len(stream) // raw, 1))
    starts = (np.arange(count) * len(stream) // count).tolist()
    found = stream.read_windows(starts, min(raw, len(stream)))
    return [
        HeldOutPage(code, TokenizedPage(f"training text of {code}, {start}", tokens, 0, 0))
        for start, tokens in zip(starts, found, strict=True)
    ]
