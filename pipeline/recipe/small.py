"""Recipes for two cores: of the demo, for own text, and of the experiments (docs/results)."""

from dataclasses import replace

from model.config import ModelConfig, OptimizerConfig, SwitchConfig
from pipeline.recipe.recipe import Recipe, sparse


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
    lengths = mt5_demo().lengths
    switch = SwitchConfig(
        experts=8,
        every=2,
        encoder_group_tokens=lengths.inputs * 8,
        decoder_group_tokens=lengths.targets * 8,
    )
    return sparse(mt5_demo(), "switch-demo", switch)


def mt5_laptop() -> Recipe:
    """A small mT5 for your own text, with as many vocabulary rows; two minutes on two cores."""
    trial = mt5_experiment()
    return replace(
        trial,
        name="mt5-laptop",
        model=replace(trial.model, vocabulary_rows=0, embed=64, heads=4, head=16, mlp=128),
        rows=32,
        inputs=64,
        steps=600,
        optimizer=replace(trial.optimizer, hold_steps=240),
        evaluate_every=60,
        checkpoint_every=200,
        log_every=20,
    )


def switch_laptop() -> Recipe:
    """mt5-laptop with 8 experts at every other feed-forward, at equal FLOPs per token."""
    dense = mt5_laptop()
    switch = SwitchConfig(
        experts=8,
        every=2,
        encoder_group_tokens=dense.lengths.inputs * 8,
        decoder_group_tokens=dense.lengths.targets * 8,
        router_scale=0.12,  # 1 / sqrt(embed): logits of unit variance
    )
    return sparse(dense, "switch-laptop", switch)


def mt5_multilingual() -> Recipe:
    """mT5 of the multilingual experiment: 158M tokens of 101 languages; 40 minutes on one core.

    The run is long enough that wider feed-forwards would help, and its tokens are cheap: windows of
    64 tokens, and four narrow heads instead of one, as each head attends to one position at a time
    (docs/results/multilingual.md). Heads whose biases fall with distance let the loss of
    eight runs fall by step 1,860, instead of at 2,600 to 6,450 (docs/results/falls.md).
    """
    trial = mt5_experiment()
    return replace(
        trial,
        name="mt5-multilingual",
        model=replace(trial.model, heads=4, head=8, distance_slope=0.5),
        rows=128,
        inputs=64,
        steps=15_872,
        optimizer=replace(trial.optimizer, hold_steps=1_600),
        evaluate_every=496,
        checkpoint_every=3_968,
    )


def switch_multilingual() -> Recipe:
    """mt5-multilingual with 16 experts at every feed-forward; 50 minutes on one core."""
    dense = mt5_multilingual()
    return sparse(dense, "switch-multilingual", sixteen_experts(dense))


def mt5_experiment() -> Recipe:
    """A small mT5 for trials: 20M tokens of 101 languages in six minutes on one core.

    Initial weights have a tenth of T5's variance, as in the published recipes: mT5 gains 0.06 nats
    and depends a third as much on its seed (docs/decisions/first-weights.md).
    """
    return Recipe(
        name="mt5-experiment",
        model=ModelConfig(
            vocabulary_rows=2048,
            embed=32,
            heads=1,
            head=32,
            mlp=64,
            layers=2,
            activation_dtype="float32",
            initialization_scale=0.1,
        ),
        rows=64,
        inputs=128,
        steps=1_984,
        optimizer=OptimizerConfig(hold_steps=800, decay_from=0.4, warm_up_steps=50),
        evaluate_every=64,
        checkpoint_every=496,
        log_every=16,
    )


def switch_experiment() -> Recipe:
    """mt5-experiment with 16 experts at every feed-forward, as in Switch-C.

    The router starts with logits of unit variance, 1 / sqrt(embed) instead of 0.02: small gates
    scale the experts' outputs down, and twenty million tokens are too few to sharpen them.
    """
    return sparse(mt5_experiment(), "switch-experiment", sixteen_experts(mt5_experiment()))


def t5_english() -> Recipe:
    """mt5-experiment as T5 1.0 (ReLU, tied), for one language; three minutes on one core."""
    multilingual = mt5_experiment()
    model = replace(multilingual.model, feed_forward="relu", tied_logits=True, mlp=96)
    return replace(
        multilingual,
        name="t5-english",
        model=model,
        steps=496,
        evaluate_every=16,
        checkpoint_every=248,
    )


def switch_english() -> Recipe:
    """t5-english with 16 experts at every feed-forward."""
    return sparse(t5_english(), "switch-english", sixteen_experts(t5_english()))


def sixteen_experts(dense: Recipe) -> SwitchConfig:
    """Returns the switch layers of the experiments; a batch is one routing group."""
    return SwitchConfig(
        experts=16,
        every=1,
        encoder_group_tokens=dense.lengths.inputs * dense.rows,
        decoder_group_tokens=dense.lengths.targets * dense.rows,
        router_scale=0.18,
    )
