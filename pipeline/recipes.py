"""Named, complete descriptions of a run, as plain functions.

A recipe is a frozen value; variants are made by `replace`. Two recipes that are compared, such as
`mt5-demo` and `switch-demo`, are the same value but for `model.switch`, by construction: a baseline
is never weaker by accident. Shapes are those of the papers (T5 section 3.1, mT5 table 1, Switch
table 9) and, where Switch's table and the released models disagree, of the models: see
docs/decisions/released-shapes.md.
"""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from data.span_corruption import Lengths, lengths_for_inputs
from model.config import ConfigurationError, FeedForwardKind, ModelConfig, Remat, SwitchConfig
from model.distillation import DistillationConfig
from model.optimizer import OptimizerConfig
from model.sharding import MeshShape
from pipeline.artifacts import ArtifactError

MT5_ROWS = 250_112  # 250,000 pieces and 100 sentinels, padded
T5_ROWS = 32_128  # 32,000 pieces and 100 sentinels, padded


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a pretraining run, but for the tokens.

    Attributes:
        name: the recipe's name.
        model: the network.
        rows: rows of a batch, over all devices.
        inputs: encoder tokens a row; raw window and targets follow from it.
        steps: updates in all.
        optimizer: the learning-rate schedule.
        mixture: how often each language is seen: temperature:ALPHA over pages, proportional,
            uniform, unimax:EPOCHS:CHARACTERS or weights:FILE (`data/mixture.py`).
        seed: of weights, order and spans.
        evaluate_every, checkpoint_every, log_every: in steps.
        mesh: devices along each axis.
        accumulate: parts that a batch is computed in, one after another, for less memory; the
            update is that of the whole batch.
        remat: what the backward pass keeps of a block: none (all of it), full (its input alone),
            exchanges (also what the all-to-alls brought); costs memory or time, changes no result.
        distillation: how a teacher is learned from; None for a run that learns from text alone.
            No named recipe has it: `mswitch distill` adds it to a dense one.
    """

    name: str
    model: ModelConfig
    rows: int
    inputs: int
    steps: int
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    mixture: str = "temperature:0.3"
    seed: int = 0
    evaluate_every: int = 5_000
    checkpoint_every: int = 5_000
    log_every: int = 100
    mesh: MeshShape = field(default_factory=MeshShape)
    accumulate: int = 1
    remat: Remat = "none"
    distillation: DistillationConfig | None = None

    def __post_init__(self):
        counts = "rows", "steps", "evaluate_every", "checkpoint_every", "log_every", "accumulate"
        for name in counts:
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} was {getattr(self, name)}; it must be 1 or more.")

    @property
    def stage(self) -> str:
        """The command that trains it."""
        return "pretrain" if self.distillation is None else "distill"

    @property
    def lengths(self) -> Lengths:
        """Raw, input and target lengths of a row."""
        return lengths_for_inputs(self.inputs)


def mt5(name: str, *, embed: int, heads: int, mlp: int, layers: int) -> Recipe:
    """mT5 as published: 1M steps of 1024 rows of 1024 tokens, 10^12 tokens.

    At full size: weeks on a TPU pod; better launched with the mesh of that pod.
    """
    return Recipe(
        name=name,
        model=ModelConfig(
            vocabulary_rows=MT5_ROWS, embed=embed, heads=heads, head=64, mlp=mlp, layers=layers
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

    The paper leaves out the number of experts and the group size; these are the released
    Switch-Base's (flaxformer), with decoder groups of 32 rows of 229 targets, which divide.
    `--set model.switch.experts=16` (32, 64) makes it 1.4B (2.3B, 4.2B).
    """
    switch = SwitchConfig(
        experts=128, every=2, encoder_group_tokens=8192, decoder_group_tokens=229 * 32
    )
    return sparse(mt5_base(), "mswitch-base", switch)


class Version(NamedTuple):
    """What tells T5's versions apart (`ModelConfig`)."""

    feed_forward: FeedForwardKind
    tied_logits: bool


T5_1_0 = Version("relu", tied_logits=True)
T5_1_1 = Version("gated-gelu", tied_logits=False)
SWITCH_C = Version("relu", tied_logits=False)


def t5(
    name: str, version: Version, *, embed: int, heads: int, mlp: int, layers: int, steps: int
) -> Recipe:
    """T5 as Switch's paper trained its baselines: 2^20 English tokens a batch (section 4.2)."""
    model = ModelConfig(
        vocabulary_rows=T5_ROWS,
        embed=embed,
        heads=heads,
        head=64,
        mlp=mlp,
        layers=layers,
        **version._asdict(),
    )
    return Recipe(name=name, model=model, rows=2048, inputs=512, steps=steps)


def t5_base() -> Recipe:
    """T5-Base (1.0: ReLU, tied), 223M parameters: what Switch-Base is compared with."""
    return t5("t5-base", T5_1_0, embed=768, heads=12, mlp=3072, layers=12, steps=550_000)


def t5_large() -> Recipe:
    """T5-Large (1.0: ReLU, tied), 738M parameters."""
    return t5("t5-large", T5_1_0, embed=1024, heads=16, mlp=4096, layers=24, steps=550_000)


def t5_xxl() -> Recipe:
    """T5-XXL (1.1: GEGLU, untied), 11B parameters: what Switch-XXL is compared with."""
    return t5("t5-xxl", T5_1_1, embed=4096, heads=64, mlp=10240, layers=24, steps=500_000)


def switch_base() -> Recipe:
    """Switch-Base as released: T5-Base, every other feed-forward 128 experts, 7.4B parameters."""
    return sparse(t5_base(), "switch-base", released_switch(experts=128, group_rows=16))


def switch_large() -> Recipe:
    """Switch-Large as released: T5-Large, every other feed-forward 128 experts, 26B parameters."""
    return sparse(t5_large(), "switch-large", released_switch(experts=128, group_rows=8))


def switch_xxl() -> Recipe:
    """Switch-XXL as released: T5-XXL, 128 experts (the paper's table says 64), 395B parameters."""
    switch = replace(
        released_switch(experts=128, group_rows=8),
        capacity_factor_evaluation=4.0,
        minimum_capacity=2,
    )
    return sparse(t5_xxl(), "switch-xxl", switch)


def switch_c() -> Recipe:
    """Switch-C as released: 2,048 experts at every feed-forward, 1.6T parameters.

    30 heads; the paper's table has 32. Only its shapes were ever built here. Blocks are computed
    again in the backward pass: their activations would not fit beside the experts.
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

    Switch-C with experts of 6,848 instead of 6,144 hidden units. It says what such a size takes,
    and nothing about WuDao, which is no Switch Transformer.
    """
    recipe = switch_c()
    return replace(recipe, name="switch-1-75t", model=replace(recipe.model, mlp=6848))


def released_switch(*, experts: int, group_rows: int) -> SwitchConfig:
    """Flaxformer's settings; a group is whole rows, of 512 inputs as there, or of 114 targets."""
    return SwitchConfig(
        experts=experts,
        every=2,
        encoder_group_tokens=512 * group_rows,
        decoder_group_tokens=114 * group_rows * 4,  # targets are a quarter as long
    )


def mt5_demo() -> Recipe:
    """A tiny mT5 for `make demo`; some two minutes on two cores."""
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
    """The same with 8 experts at every other feed-forward: as many FLOPs a token."""
    lengths = mt5_demo().lengths
    switch = SwitchConfig(
        experts=8,
        every=2,
        encoder_group_tokens=lengths.inputs * 8,
        decoder_group_tokens=lengths.targets * 8,
    )
    return sparse(mt5_demo(), "switch-demo", switch)


def mt5_experiment() -> Recipe:
    """An mT5 that 20M tokens of 101 languages saturate (`make experiment`); a quarter of an hour.

    On one core. So narrow that its feed-forwards limit it: at twice the width eight times wider
    feed-forwards gained nothing from as many tokens, and what limits no one no expert can relieve.
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
    """The same with 16 experts at every feed-forward, as in Switch-C.

    The router starts with logits of unit variance, 1 / sqrt(embed) instead of 0.02: diffuse gates
    hide the experts, and twenty million tokens are too few to sharpen them.
    """
    return sparse(mt5_experiment(), "switch-experiment", experiment_switch())


def t5_english() -> Recipe:
    """The experiment's shape as T5 1.0 (ReLU, tied), for one language; three minutes on a core."""
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
    """The same with 16 experts at every feed-forward."""
    return sparse(t5_english(), "switch-english", experiment_switch())


def experiment_switch() -> SwitchConfig:
    """Sixteen experts; a batch is one routing group."""
    dense = mt5_experiment()
    return SwitchConfig(
        experts=16,
        every=1,
        encoder_group_tokens=dense.lengths.inputs * dense.rows,
        decoder_group_tokens=dense.lengths.targets * dense.rows,
        router_scale=0.18,
    )


def sparse(baseline: Recipe, name: str, switch: SwitchConfig) -> Recipe:
    """Returns the baseline with sparse feed-forwards and no other difference."""
    return replace(baseline, name=name, model=replace(baseline.model, switch=switch))


RECIPES: tuple[Callable[[], Recipe], ...] = (
    mt5_demo,
    switch_demo,
    mt5_experiment,
    switch_experiment,
    t5_english,
    switch_english,
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


def names() -> list[str]:
    """Returns the names of all recipes."""
    return [recipe.__name__.replace("_", "-") for recipe in RECIPES]


def summary(name: str) -> str:
    """Returns the first line of a recipe's documentation."""
    return (RECIPES[names().index(name)].__doc__ or "").split("\n")[0]


def get(name: str) -> Recipe:
    """Returns a recipe.

    Raises:
        ArtifactError: no such recipe; the message offers near matches.
    """
    if name not in names():
        near = near_matches(name, names())
        raise ArtifactError(f"Recipe {name!r} is unknown.{near} `mswitch recipes` lists them.")
    return RECIPES[names().index(name)]()


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as JSON values; `distillation` only where there is a teacher."""
    value = asdict(recipe)
    return value if recipe.distillation else {k: v for k, v in value.items() if k != "distillation"}


def from_json(value: dict[str, Any]) -> Recipe:
    """Returns the recipe that `to_json` wrote."""
    return _build(Recipe, value)


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Returns the recipe with `field=value` settings applied, such as `model.switch.experts=16`.

    Raises:
        ArtifactError: unknown field or a value of the wrong type.
    """
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise ArtifactError(f"--set was given {setting!r}; write field=value.")
        recipe = _replaced(recipe, path.split("."), text, path)
    return recipe


def _replaced(value: Any, path: list[str], text: str, whole: str) -> Any:
    known = (
        [field.name for field in dataclasses.fields(value)]
        if dataclasses.is_dataclass(value)
        else []
    )
    if path[0] not in known:
        offer = near_matches(path[0], known)
        raise ArtifactError(
            f"--set {whole} was asked; {path[0]!r} is no field there.{offer} "
            f"Known: {', '.join(known) or 'none, it is not set'}."
        )
    current = getattr(value, path[0])
    if len(path) > 1:
        new = _replaced(current, path[1:], text, whole)
    else:
        new = _parse(text, current, whole, get_type_hints(type(value))[path[0]])
    return replace(value, **{path[0]: new})  # pyright: ignore[reportArgumentType]


def _parse(text: str, current: Any, whole: str, hint: Any) -> Any:
    kind = type(current)
    if kind not in (int, float, str, bool):
        raise ArtifactError(
            f"--set {whole} was asked, which is not a single value; name a field of it."
        )
    allowed = get_args(hint) if get_origin(hint) is Literal else ()
    if kind is bool:
        allowed = ("true", "false")
    if allowed and text not in allowed:
        raise ArtifactError(f"--set {whole}={text} was asked; write one of {', '.join(allowed)}.")
    if kind is bool:
        return text == "true"
    try:
        return kind(text.replace("_", "") if kind is int else text)
    except ValueError as error:
        raise ArtifactError(
            f"--set {whole}={text} was asked; {whole} is {kind.__name__}, for example {current}."
        ) from error


def _build(kind: Any, value: Any) -> Any:
    if value is None or not isinstance(value, dict):
        return value
    hints = get_type_hints(kind)
    return kind(**{name: _build(_class_of(hints[name]), item) for name, item in value.items()})


def _class_of(hint: Any) -> Any:
    """Returns the dataclass in `X | None`, or the hint itself."""
    if get_origin(hint) is None:
        return hint
    return next((kind for kind in get_args(hint) if dataclasses.is_dataclass(kind)), hint)


def near_matches(name: str, known: Sequence[str]) -> str:
    """Returns a question that offers names like the one given, or nothing."""
    near = difflib.get_close_matches(name, known, n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
