"""The experts that stay when a run is pruned, and the text that they are fitted on.

Which experts follows from the routing that `mswitch evaluate` recorded by language, expert and
layer: an expert's importance is the sum of its gates per token. The kept experts may be fitted to
training text of the languages. Windows lie evenly over a language's training tokens, each language
has as many, and their spans are hidden as those of held-out pages are. Held-out pages are read to
measure only.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from data.examples.held_out_batches import HeldOutPage, batches
from data.examples.span_corruption import Lengths
from data.files.parquet_files import read_table
from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from data.tokens.shards import TokenizedPage
from eval.experts import WRITTEN, expert_use, switch_layers
from model.batch import Batch
from model.config import ModelConfig
from model.conversions.pruning import kept_count, most_important_experts
from pipeline.errors import ArtifactError
from pipeline.hardware.batches import to_devices
from pipeline.runs.directory import routing_file

WINDOWS = 128  # per language (docs/decisions/pruning.md)
ROWS = 32


class KeptExperts(NamedTuple):
    """Experts that stay.

    Attributes:
        routing: file that their importance follows from.
        before: number of experts per layer before.
        kept: those of each layer that stay, the encoder's layers before the decoder's.
        load: use of each expert, to merge dropped experts by; None to leave them out.
    """

    routing: Place
    before: int
    kept: Int[np.ndarray, "layers kept"]
    load: Float[np.ndarray, "layers experts"] | None

    @property
    def per_layer(self) -> int:
        """Number of experts per layer that stay."""
        return self.kept.shape[1]

    def by_layer(self, every: int) -> dict[str, Any]:
        """Returns the experts of each layer by its name, of a network with one per `every`."""
        stacks = zip(("encoder", "decoder"), np.split(self.kept, 2), strict=True)
        return {
            f"{stack} {(block + 1) * every}": experts.tolist()
            for stack, layers in stacks
            for block, experts in enumerate(layers)
        }

    def others(self, *, fitted: bool) -> str:
        """Returns the fate of the experts that were not kept, in words; empty if all were."""
        if self.per_layer == self.before:
            return ""
        fate = "left out" if self.load is None else "merged"
        return f"{fate}, the kept ones fitted" if fitted else fate


def experts_to_keep(
    run: Place, step: int, model: ModelConfig, codes: Sequence[str], share: float, merge: bool
) -> KeptExperts:
    """Returns the experts that some languages use most.

    Args:
        run: run to prune.
        step: step of its checkpoint.
        model: its network.
        codes: languages.
        share: share of each layer's experts to keep.
        merge: whether dropped experts are merged into the kept ones.

    Raises:
        ArtifactError: if the run is dense, fewer than a token's choices would stay, or the step was
            not evaluated.
        DataError: if a language has no held-out pages, or the routing is of another network.
    """
    switch = model.switch
    if switch is None:
        raise ArtifactError(
            f"{run} was to be pruned and has no experts; name a sparse run, or --trim alone."
        )
    count = kept_count(switch.experts, share)
    if count < switch.choices:
        raise ArtifactError(
            f"--keep {share} leaves {count} of {switch.experts} experts of {run}, whose tokens "
            f"take {switch.choices} each; keep a share of at least "
            f"{switch.choices / switch.experts:g}."
        )
    path = routing_file(run, step)
    layers = switch_layers(model.blocks, switch.every)
    use = expert_use(read_table(path, WRITTEN), codes, layers, switch.experts, str(path))
    kept = most_important_experts(use.gate, count)
    return KeptExperts(path, switch.experts, kept, use.load if merge else None)


def check_has_text(blocks: TokenBlocks, languages: Sequence[str]) -> None:
    """Checks that there is training text of every language.

    Raises:
        ArtifactError: if one has none.
    """
    there = blocks.languages("train")
    if missing := [code for code in languages if code not in there]:
        raise ArtifactError(
            f"Text of {', '.join(missing)} was to be read, of which {blocks.address} has no "
            "training tokens; name other tokens, or leave --tokens out."
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
        to_devices({"inputs": b.inputs, "targets": b.targets, "language": b.page}, mesh, ROWS)
        for b in batches(parts, lengths, first_sentinel=sentinel, rows=ROWS)
    ]


def _windows(blocks: TokenBlocks, code: str, raw: int, most: int) -> list[HeldOutPage]:
    """Returns windows of a language as pages, whose names seed the hidden spans."""
    stream = blocks.stream(code, "train")
    count = min(most, max(len(stream) // raw, 1))
    starts = (np.arange(count) * len(stream) // count).tolist()
    windows = stream.read_windows(starts, min(raw, len(stream)))
    return [
        HeldOutPage(code, TokenizedPage(f"training text of {code}, {start}", tokens, 0, 0))
        for start, tokens in zip(starts, windows, strict=True)
    ]
