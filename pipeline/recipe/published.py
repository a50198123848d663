"""Recipes with the shapes of the papers: mT5, T5, Switch, and mT5-Base made sparse.

Sources: T5 section 3.1, mT5 table 1, Switch table 9. Where that table and the released models
disagree, the released models count (docs/decisions/released-shapes.md).
"""

from dataclasses import replace
from typing import NamedTuple

from model.config import FeedForwardKind, ModelConfig, SwitchConfig
from pipeline.recipe.recipe import Recipe, sparse

MT5_ROWS = 250_112  # 250,000 pieces and 100 sentinels, padded
T5_ROWS = 32_128  # 32,000 pieces and 100 sentinels, padded
# A tenth of T5's (Fedus et al. 2022, section 2.4), for the dense recipes as well, so that they
# differ in the feed-forward only (docs/decisions/first-weights.md).
INITIALIZATION_SCALE = 0.1


def mt5(name: str, *, embed: int, heads: int, mlp: int, layers: int) -> Recipe:
    """mT5 as published: 1M steps of 1024 rows of 1024 tokens, 10^12 tokens.

    At full size a run takes weeks on a TPU pod; launch it with that pod's mesh.
    """
    return Recipe(
        name=name,
        model=ModelConfig(
            vocabulary_rows=MT5_ROWS,
            embed=embed,
            heads=heads,
            head=64,
            mlp=mlp,
            layers=layers,
            initialization_scale=INITIALIZATION_SCALE,
        ),
        rows=1024,
        inputs=1024,
        steps=1_000_000,
    )


def mt5_small() -> Recipe:
    """mT5-Small, 300M parameters."""
    return mt5("mt5-small", embed=512, heads=6, mlp=1024, layers=8)


def mt5_base() -> Recipe:
    """mT5-Base, 580M parameters: the paper's baseline."""
    return mt5("mt5-base", embed=768, heads=12, mlp=2048, layers=12)


def mt5_large() -> Recipe:
    """mT5-Large, 1.2B parameters."""
    return mt5("mt5-large", embed=1024, heads=16, mlp=2816, layers=24)


def mt5_xl() -> Recipe:
    """mT5-XL, 3.7B parameters."""
    return mt5("mt5-xl", embed=2048, heads=32, mlp=5120, layers=24)


def mt5_xxl() -> Recipe:
    """mT5-XXL, 13B parameters."""
    return mt5("mt5-xxl", embed=4096, heads=64, mlp=10240, layers=24)


def mswitch_base() -> Recipe:
    """mSwitch-Base: mT5-Base with 128 experts at every other feed-forward, 7.8B parameters.

    The paper leaves out the number of experts and the group size; both are the released
    Switch-Base's (flaxformer), except for decoder groups of 32 rows of 229 targets, which divide
    the batch. `--set model.switch.capacity=16` (32, 64) makes it 1.4B (2.3B, 4.2B).
    """
    switch = SwitchConfig(
        experts=128, every=2, encoder_group_tokens=8192, decoder_group_tokens=229 * 32
    )
    return sparse(mt5_base(), "mswitch-base", switch)


class Version(NamedTuple):
    """Differences between T5's versions (`ModelConfig`)."""

    feed_forward: FeedForwardKind
    tied_logits: bool


T5_1_0 = Version("relu", tied_logits=True)
T5_1_1 = Version("gated-gelu", tied_logits=False)
SWITCH_C = Version("relu", tied_logits=False)


def t5(
    name: str, version: Version, *, embed: int, heads: int, mlp: int, layers: int, steps: int
) -> Recipe:
    """T5 as Switch's paper trained its baselines: 2^20 English tokens per batch (section 4.2)."""
    model = ModelConfig(
        vocabulary_rows=T5_ROWS,
        embed=embed,
        heads=heads,
        head=64,
        mlp=mlp,
        layers=layers,
        initialization_scale=INITIALIZATION_SCALE,
        **version._asdict(),
    )
    return Recipe(name=name, model=model, rows=2048, inputs=512, steps=steps)


def t5_base() -> Recipe:
    """T5-Base (1.0: ReLU, tied), 223M parameters: the baseline of Switch-Base."""
    return t5("t5-base", T5_1_0, embed=768, heads=12, mlp=3072, layers=12, steps=550_000)


def t5_large() -> Recipe:
    """T5-Large (1.0: ReLU, tied), 738M parameters."""
    return t5("t5-large", T5_1_0, embed=1024, heads=16, mlp=4096, layers=24, steps=550_000)


def t5_xxl() -> Recipe:
    """T5-XXL (1.1: GEGLU, untied), 11B parameters: the baseline of Switch-XXL."""
    return t5("t5-xxl", T5_1_1, embed=4096, heads=64, mlp=10240, layers=24, steps=500_000)


def switch_base() -> Recipe:
    """Switch-Base as released: T5-Base, every other feed-forward 128 experts, 7.4B parameters."""
    return sparse(t5_base(), "switch-base", released_switch(experts=128, group_rows=16))


def switch_large() -> Recipe:
    """Switch-Large as released: T5-Large, every other feed-forward 128 experts, 26B parameters."""
    return sparse(t5_large(), "switch-large", released_switch(experts=128, group_rows=8))


def switch_xxl() -> Recipe:
    """Switch-XXL as released: T5-XXL, 128 experts (the paper's table has 64), 395B parameters."""
    switch = replace(
        released_switch(experts=128, group_rows=8),
        capacity_factor_evaluation=4.0,
        minimum_capacity=2,
    )
    return sparse(t5_xxl(), "switch-xxl", switch)


def switch_c() -> Recipe:
    """Switch-C as released: 2,048 experts at every feed-forward, 1.6T parameters.

    30 heads; the paper's table has 32. Only its shapes were ever built here. Blocks are
    rematerialized, as their activations would not fit beside the experts.
    """
    switch = replace(
        released_switch(experts=2048, group_rows=4),
        every=1,
        capacity_factor_training=1.0,
        minimum_capacity=2,
    )
    dense = t5("switch-c", SWITCH_C, embed=2080, heads=30, mlp=6144, layers=15, steps=500_000)
    return replace(sparse(dense, "switch-c", switch), remat="full")


def switch_1_75t() -> Recipe:
    """A Switch Transformer of WuDao 2.0's size, 1.75T parameters; its own shape is not published.

    Switch-C with experts of 6,848 instead of 6,144 hidden units. It shows what such a size takes;
    WuDao itself is not a Switch Transformer.
    """
    recipe = switch_c()
    return replace(recipe, name="switch-1-75t", model=replace(recipe.model, mlp=6848))


def released_switch(*, experts: int, group_rows: int) -> SwitchConfig:
    """Returns Flaxformer's settings; a group is whole rows of 512 inputs or of 114 targets."""
    return SwitchConfig(
        experts=experts,
        every=2,
        encoder_group_tokens=512 * group_rows,
        decoder_group_tokens=114 * group_rows * 4,  # targets are a quarter as long
    )
