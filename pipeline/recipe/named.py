"""The named recipes, as plain functions: shapes of the papers, and small ones for two cores.

Sources: T5 section 3.1, mT5 table 1, Switch table 9. Where that table and the released models
disagree, the released models count (docs/decisions/released-shapes.md).

Variants are made with `dataclasses.replace`. Two recipes that are compared, such as `mt5-demo` and
`switch-demo`, differ in `model.switch` only, by construction (`sparse`), so a baseline is never
weaker by accident.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from data.files.json_files import read_json, read_yaml
from model.config import FeedForwardKind, ModelConfig, OptimizerConfig, SwitchConfig
from pipeline.errors import ArtifactError
from pipeline.recipe.overrides import near_matches
from pipeline.recipe.recipe import Recipe, recipe_from_json, sparse

MT5_ROWS = 250_112  # 250,000 pieces and 100 sentinels, padded
MIDDLE_ROWS = 64_128  # 64,000 pieces and 100 sentinels, padded
T5_ROWS = 32_128  # 32,000 pieces and 100 sentinels, padded
# A tenth of T5's (Fedus et al. 2022, section 2.4), for the dense recipes as well, so that they
# differ in the feed-forward only (docs/decisions/first-weights.md).
INITIALIZATION_SCALE = 0.1
YAML = (".yaml", ".yml")  # endings of files; any other is JSON


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
    the batch. `--set model.switch.experts=16` (32, 64) makes it 1.4B (2.3B, 4.2B).
    """
    return with_experts(mt5_base(), "mswitch-base", experts=128, rows=8, decoder_rows=32)


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
    return with_experts(t5_base(), "switch-base", experts=128, rows=16, decoder_rows=64)


def switch_large() -> Recipe:
    """Switch-Large as released: T5-Large, every other feed-forward 128 experts, 26B parameters."""
    return with_experts(t5_large(), "switch-large", experts=128, rows=8, decoder_rows=32)


def switch_xxl() -> Recipe:
    """Switch-XXL as released: T5-XXL, 128 experts (the paper's table has 64), 395B parameters."""
    return with_experts(
        t5_xxl(),
        "switch-xxl",
        experts=128,
        rows=8,
        decoder_rows=32,
        capacity_factor_evaluation=4.0,
        minimum_capacity=2,
    )


def switch_c() -> Recipe:
    """Switch-C as released: 2,048 experts at every feed-forward, 1.6T parameters.

    30 heads; the paper's table has 32. Only its shapes were ever built here. Blocks are
    rematerialized, as their activations would not fit beside the experts.
    """
    dense = t5("switch-c", SWITCH_C, embed=2080, heads=30, mlp=6144, layers=15, steps=500_000)
    recipe = with_experts(
        dense,
        "switch-c",
        experts=2048,
        rows=4,
        decoder_rows=16,
        every=1,
        capacity_factor_training=1.0,
        minimum_capacity=2,
    )
    return replace(recipe, remat="full")


def switch_1_75t() -> Recipe:
    """A Switch Transformer of WuDao 2.0's size, 1.75T parameters; its own shape is not published.

    Switch-C with experts of 6,848 instead of 6,144 hidden units. It shows what such a size takes;
    WuDao itself is not a Switch Transformer.
    """
    recipe = switch_c()
    return replace(recipe, name="switch-1-75t", model=replace(recipe.model, mlp=6848))


def with_experts(
    dense: Recipe,
    name: str,
    *,
    experts: int,
    rows: int,
    decoder_rows: int = 0,
    every: int = 2,
    **more: Any,
) -> Recipe:
    """Returns a dense recipe with experts at every other feed-forward.

    A group is `rows` whole rows, of targets `decoder_rows` if that is not 0. The other arguments
    are those of `SwitchConfig`.
    """
    switch = SwitchConfig(
        experts=experts,
        every=every,
        encoder_group_tokens=dense.lengths.inputs * rows,
        decoder_group_tokens=dense.lengths.targets * (decoder_rows or rows),
        **more,
    )
    return sparse(dense, name, switch)


def mt5_demo() -> Recipe:
    """A tiny mT5 for `make demo`; about two minutes on two cores."""
    return Recipe(
        name="mt5-demo",
        model=ModelConfig(
            vocabulary_rows=8192,
            embed=96,
            heads=4,
            head=24,
            mlp=192,
            layers=2,
            activation_dtype="float32",  # CPUs have no fast bfloat16
        ),
        rows=32,
        inputs=128,
        steps=400,
        optimizer=OptimizerConfig(hold_steps=400, decay_from=0.5),
        evaluate_every=20,
        checkpoint_every=100,
        log_every=10,
    )


def switch_demo() -> Recipe:
    """mt5-demo with 8 experts at every other feed-forward, at equal FLOPs per token."""
    return with_experts(mt5_demo(), "switch-demo", experts=8, rows=8)


def mt5_laptop() -> Recipe:
    """A small mT5 for your own text, with as many vocabulary rows; two minutes on two cores."""
    return Recipe(
        name="mt5-laptop",
        model=ModelConfig(
            vocabulary_rows=0,
            embed=64,
            heads=4,
            head=16,
            mlp=128,
            layers=2,
            activation_dtype="float32",
            initialization_scale=0.1,
        ),
        rows=32,
        inputs=64,
        steps=600,
        optimizer=OptimizerConfig(hold_steps=240, decay_from=0.4, warm_up_steps=50),
        evaluate_every=60,
        checkpoint_every=200,
        log_every=20,
    )


def switch_laptop() -> Recipe:
    """mt5-laptop with 8 experts at every other feed-forward, at equal FLOPs per token."""
    scale = 0.12  # 1 / sqrt(embed): logits of unit variance
    return with_experts(mt5_laptop(), "switch-laptop", experts=8, rows=8, router_scale=scale)


def mt5_middle() -> Recipe:
    """mT5-Small with 64,000 pieces, 110M parameters: 11 hours or more on one GPU of 24 GB.

    A step has 2^17 input tokens, all steps 6.6 billion. docs/scale.md has the settings for one
    GPU of 24 or 80 GB and for eight TPUs.
    """
    small = mt5_small()
    return replace(
        small,
        name="mt5-middle",
        model=replace(small.model, vocabulary_rows=MIDDLE_ROWS),
        rows=256,
        inputs=512,
        steps=50_000,
        optimizer=OptimizerConfig(decay_from=0.8),
    )


def switch_middle() -> Recipe:
    """mt5-middle with 16 experts at every other feed-forward, 299M parameters, equal FLOPs."""
    return with_experts(mt5_middle(), "switch-middle", experts=16, rows=16)


def mt5_multilingual() -> Recipe:
    """mT5 of the multilingual experiments: 158M tokens of 101 languages; 40 minutes on one core.

    The run is long enough that wider feed-forwards would help, and its tokens are cheap: windows of
    64 tokens, and four narrow heads instead of one, as each head attends to one position at a time.
    Heads whose biases fall with distance let the loss of eight runs fall by step 1,860, instead of
    at 2,600 to 6,450 (docs/results/archive.md). First weights have a tenth of T5's variance, as in
    the published recipes: mT5 gains 0.06 nats and depends a third as much on its seed
    (docs/decisions/first-weights.md).
    """
    return Recipe(
        name="mt5-multilingual",
        model=ModelConfig(
            vocabulary_rows=2048,
            embed=32,
            heads=4,
            head=8,
            mlp=64,
            layers=2,
            activation_dtype="float32",
            initialization_scale=0.1,
            distance_slope=0.5,
        ),
        rows=128,
        inputs=64,
        steps=15_872,
        optimizer=OptimizerConfig(hold_steps=1_600, decay_from=0.4, warm_up_steps=50),
        evaluate_every=496,
        checkpoint_every=3_968,
        log_every=16,
    )


def switch_multilingual() -> Recipe:
    """mt5-multilingual with 16 experts at every feed-forward, as in Switch-C; 50 minutes.

    The router starts with logits of unit variance, 1 / sqrt(embed) instead of 0.02: small gates
    scale the experts' outputs down, and few tokens cannot sharpen them. A batch is one group.
    """
    dense = mt5_multilingual()
    return with_experts(
        dense, "switch-multilingual", experts=16, rows=dense.rows, every=1, router_scale=0.18
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        mt5_demo,
        switch_demo,
        mt5_laptop,
        switch_laptop,
        mt5_middle,
        switch_middle,
        mt5_multilingual,
        switch_multilingual,
        mt5_small,
        mt5_base,
        mt5_large,
        mt5_xl,
        mt5_xxl,
        mswitch_base,
        t5_base,
        t5_large,
        t5_xxl,
        switch_base,
        switch_large,
        switch_xxl,
        switch_c,
        switch_1_75t,
    )
}


def names() -> list[str]:
    """Returns the names of all recipes."""
    return list(RECIPES)


def summary(name: str) -> str:
    """Returns the first line of a recipe's documentation."""
    return (RECIPES[name].__doc__ or "").split("\n")[0]


def requested_recipe(name: str, config: Path | None) -> Recipe:
    """Returns the recipe of a name, or of a file.

    Args:
        name: name of a recipe; "" for the file.
        config: a run's recipe.json, or a recipe alone, in JSON or (`.yaml`, `.yml`) in YAML.

    Raises:
        ArtifactError: if not exactly one is given, the name or a setting is unknown, or the file is
            a fine-tuned run's, which no command trains from a recipe.
        DataError: if the file is missing or damaged.
    """
    if name and config is not None:
        raise ArtifactError(
            f"--recipe {name} and --config {config} both name a recipe; give one of them."
        )
    if not name and config is None:
        raise ArtifactError(
            "A run needs a recipe and none was given; give --recipe NAME (`mswitch recipes` lists "
            "them) or --config FILE."
        )
    if config is None:
        return get(name)
    if not config.is_file():
        raise ArtifactError(f"--config names {config}, which is not a file; name a recipe.json.")
    read = read_yaml if config.suffix in YAML else read_json
    value = read(config, dict[str, Any])
    recipe = recipe_from_json(value.get("recipe", value), str(config))
    if recipe.finetuning is not None:
        raise ArtifactError(
            f"--config names {config}, the recipe of a run fine-tuned on "
            f"{', '.join(recipe.finetuning.tasks)}; name that of the run before it, or fine-tune "
            "with `mswitch finetune`."
        )
    return recipe


def get(name: str) -> Recipe:
    """Returns a recipe by its name.

    Raises:
        ArtifactError: if the name is unknown; the message offers near matches.
    """
    if name not in RECIPES:
        near = near_matches(name, names())
        raise ArtifactError(f"Recipe {name!r} is unknown.{near} `mswitch recipes` lists them.")
    return RECIPES[name]()
