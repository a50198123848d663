"""The configuration of a network and of its training: sizes, switch, mesh, optimizer, distillation.

Each part is validated when it is made and saved with every run; a failed check is one sentence that
names the field. A part that belongs to a recipe has a `SECTION`, so that the name is the one that
`--set` takes. No JAX is imported here.

T5's shape: pre-norm RMSNorm, no biases anywhere, attention without 1/sqrt(head) (it is folded into
the initialization), relative positions in 32 buckets up to distance 128 shared by all layers of a
stack. Two fields distinguish its versions:

| | `feed_forward` | `tied_logits` |
|---|---|---|
| T5 1.0 (Raffel et al. 2020), Switch-Base and -Large as released | relu | True |
| T5 1.1, mT5 (Xue et al. 2021), Switch-XXL as released | gated-gelu | False |
| Switch-C as released | relu | False |

A Switch Transformer differs in one field: with `switch` set, every `every`-th feed-forward is
sparse.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

PADDING, EOS = 0, 1  # ids, as in T5; padding is also the decoder's input before its first token
LARGEST = 2**24  # of a width or a number of parts: 67 times mT5's vocabulary; products fit 64 bits
AXES = ("replica", "data", "slice", "expert", "model")  # of the mesh of devices

Dispatch = Literal["slots", "dropless"]
Balanced = Literal["group", "batch"]
FeedForwardKind = Literal["gated-gelu", "relu"]
Initialization = Literal["random", "non-experts", "experts-mean"]
# What the backward pass keeps of a block (model/remat.py).
Remat = Literal["none", "full", "exchanges", "attention", "products"]
COLDEST = 0.001  # temperature; float32 holds logits of up to 10³⁵ divided by it


class ConfigurationError(ValueError):
    """Sizes or devices do not fit together; the message has the remedy."""


def require_ascending(name: str, steps: Sequence[int]) -> None:
    """Checks that steps ascend.

    Raises:
        ConfigurationError: if they do not.
    """
    if any(step >= following for step, following in itertools.pairwise(steps)):
        raise ConfigurationError(f"{name} has the steps {list(steps)}; they must ascend.")


def require_at_least_one(config: object, *names: str) -> None:
    """Checks that fields are 1 or more, and no larger than `LARGEST`.

    Raises:
        ConfigurationError: if a field is not; the message names it.
    """
    require(config, names, lambda value: value >= 1, "1 or more")
    require(config, names, lambda value: value <= LARGEST, f"at most {LARGEST:,}")


def require_positive(config: object, *names: str) -> None:
    """Checks that fields are finite numbers above 0.

    Raises:
        ConfigurationError: if a field is not; the message names it.
    """
    require(config, names, lambda value: 0 < value < math.inf, "a number above 0")


def require_not_negative(config: object, *names: str) -> None:
    """Checks that fields are finite numbers of at least 0.

    Raises:
        ConfigurationError: if a field is not; the message names it.
    """
    require(config, names, lambda value: 0 <= value < math.inf, "a finite number, 0 or more")


def require(
    config: object, names: tuple[str, ...], holds: Callable[[float], bool], requirement: str
) -> None:
    """Checks that a condition holds for fields.

    Args:
        config: object with the fields.
        names: names of the fields.
        holds: condition on a value.
        requirement: the condition in words.

    Raises:
        ConfigurationError: if it does not; the message names the field.
    """
    for name in names:
        if not holds(value := getattr(config, name)):
            field = f"{getattr(config, 'SECTION', '')}{name}"
            raise ConfigurationError(f"{field} was {value}; it must be {requirement}.")


@dataclass(frozen=True, kw_only=True)
class SwitchConfig:
    """The sparse feed-forward (Fedus et al. 2022); defaults are the paper's and Mesh TensorFlow's.

    Attributes:
        experts: number of experts per switch layer.
        every: period of sparse feed-forwards; 2 in the released models, 1 in Switch-C.
        encoder_group_tokens, decoder_group_tokens: tokens per routing group, which by default has
            its own balance loss. Set here and never by the mesh, so a step does not depend on its
            devices.
        encoder_pooled_groups, decoder_pooled_groups: number of consecutive groups that share
            experts' capacity. A group is on one device, a pool may be on several.
        choices: top-k, experts per token; 2 in GShard and ST-MoE.
        dispatch: "slots" gives each expert a fixed capacity and drops tokens over it; "dropless"
            computes every assignment.
        capacity_factor_training, capacity_factor_evaluation: capacity divided by an even share of
            the assignments.
        minimum_capacity: lower bound on the capacity; 4 in Mesh TensorFlow.
        balance_loss_weight: alpha of the balance loss.
        z_loss_weight: weight of the router's z-loss; 1e-3 in ST-MoE.
        jitter: half-width of the noise U(1 - jitter, 1 + jitter) on the router's input in training.
        expert_dropout: dropout rate of experts' hidden units in training; 0.4 to fine-tune
            (section 2.4).
        router_scale: standard deviation of the router's first weights. 2e-2 is flaxformer's,
            "slightly better" there than a tenth of the usual scale.
        expert_output_scale: factor on the first weights of the experts' last matrix. With top-1 a
            token's gate starts near 1 / experts, so with `experts` a sparse layer starts with a
            dense layer's output scale. Gates of top-k sum to 1, so there sqrt(k) does. The paper
            has 1; 4 was worse by 0.012 nats with 16 experts (short runs of commit 1892fcf).
        balance_loss_over: "group" for a balance loss of each routing group, as in the paper;
            "batch" for shares and probabilities of the whole batch (Qiu et al. 2025).
        bias_rate: step per update of each expert's bias, which is added to the logits to choose
            experts and follows the sign of its load (`model/switch/balancing.py`); 0 for none.
        quantile_rate: share of the way, per update, from each expert's bias to the one with which
            it would have had its even share of the batch; 1 in Marin, 0 for none.
        shared_mlp: inner width of the shared expert, which every token goes through beside its
            routed ones; 0 for none.
    """

    experts: int
    every: int
    encoder_group_tokens: int
    decoder_group_tokens: int
    encoder_pooled_groups: int = 1
    decoder_pooled_groups: int = 1
    choices: int = 1
    dispatch: Dispatch = "slots"
    capacity_factor_training: float = 1.25
    capacity_factor_evaluation: float = 2.0
    minimum_capacity: int = 4
    balance_loss_weight: float = 1e-2
    z_loss_weight: float = 0.0
    jitter: float = 1e-2
    expert_dropout: float = 0.0
    router_scale: float = 0.02
    expert_output_scale: float = 1.0
    balance_loss_over: Balanced = "group"
    bias_rate: float = 0.0
    quantile_rate: float = 0.0
    shared_mlp: int = 0

    SECTION = "model.switch."

    def __post_init__(self):
        require_at_least_one(
            self,
            "experts",
            "every",
            "encoder_group_tokens",
            "decoder_group_tokens",
            "encoder_pooled_groups",
            "decoder_pooled_groups",
            "choices",
            "minimum_capacity",
        )
        if self.choices > self.experts:
            raise ConfigurationError(
                f"model.switch.choices was {self.choices} of {self.experts} experts; it must be at "
                "most experts."
            )
        for name, kinds in (("dispatch", Dispatch), ("balance_loss_over", Balanced)):
            if (value := getattr(self, name)) not in get_args(kinds):
                raise ConfigurationError(
                    f"model.switch.{name} was {value!r}; it must be {' or '.join(get_args(kinds))}."
                )
        require_positive(self, "router_scale", "expert_output_scale")
        # Factor 0 leaves `minimum_capacity`: Transformers configures the capacity itself.
        require_not_negative(self, "capacity_factor_training", "capacity_factor_evaluation")
        require_not_negative(self, "balance_loss_weight", "z_loss_weight", "bias_rate")
        require(self, ("shared_mlp",), lambda width: 0 <= width <= LARGEST, f"from 0 to {LARGEST}")
        require(self, ("quantile_rate",), lambda rate: 0 <= rate <= 1, "from 0 to 1")
        self._check_biases()
        rates = ("jitter", "expert_dropout")
        require(self, rates, lambda value: 0 <= value < 1, "at least 0 and below 1")

    def _check_biases(self) -> None:
        if self.bias_rate and self.quantile_rate:
            raise ConfigurationError(
                f"model.switch.bias_rate was {self.bias_rate} and quantile_rate "
                f"{self.quantile_rate}; biases follow one rule, so leave one of them 0."
            )
        if self.quantile_rate and self.choices == self.experts:
            raise ConfigurationError(
                f"model.switch.quantile_rate was {self.quantile_rate} with {self.choices} choices "
                f"of {self.experts} experts; without an expert that is not chosen there is nothing "
                "to balance, so leave it 0."
            )

    @property
    def has_biases(self) -> bool:
        """True if experts have biases by which they are chosen."""
        return self.bias_rate > 0 or self.quantile_rate > 0

    def routing(self, *, decoder: bool, training: bool) -> "RoutingConfig":
        """Returns the routing of one stack, in training or evaluation."""
        tokens = self.decoder_group_tokens if decoder else self.encoder_group_tokens
        pooled = self.decoder_pooled_groups if decoder else self.encoder_pooled_groups
        if self.dispatch == "dropless":  # no capacity to share
            pooled = 1
        factor = self.capacity_factor_training if training else self.capacity_factor_evaluation
        return RoutingConfig(
            group_tokens=tokens,
            pooled_groups=pooled,
            top_k=self.choices,
            dispatch=self.dispatch,
            capacity=expert_capacity(
                tokens * pooled, self.experts, self.choices * factor, self.minimum_capacity
            ),
            jitter=self.jitter if training else 0.0,
            expert_dropout=self.expert_dropout if training else 0.0,
            balance_loss_over=self.balance_loss_over,
            counts_margins=training and self.quantile_rate > 0,
        )


@dataclass(frozen=True, kw_only=True)
class RoutingConfig:
    """The routing of one call of a switch layer.

    Attributes:
        group_tokens: tokens per routing group.
        pooled_groups: number of groups that share experts' capacity.
        top_k: experts per token.
        dispatch: kind of dispatch, as in `SwitchConfig`.
        capacity: tokens per expert and pool; unused if dropless.
        jitter, expert_dropout: as in `SwitchConfig`; 0 outside training.
        balance_loss_over: as in `SwitchConfig`.
        counts_margins: whether margins are counted, from which biases follow.
    """

    group_tokens: int
    pooled_groups: int
    top_k: int
    dispatch: Dispatch
    capacity: int
    jitter: float
    expert_dropout: float
    balance_loss_over: Balanced
    counts_margins: bool

    @property
    def pool_tokens(self) -> int:
        """Tokens that share experts' capacity."""
        return self.group_tokens * self.pooled_groups


def expert_capacity(tokens: int, experts: int, factor: float, minimum: int) -> int:
    """Returns the tokens that one expert accepts per pool of groups.

    Flaxformer's `max(round(factor * tokens / experts), minimum)`, and at most `tokens`.
    """
    share = min(factor * tokens / experts, tokens)  # finite, whatever the factor
    return min(max(round(share), minimum), tokens)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An encoder-decoder.

    Attributes:
        vocabulary_rows: rows of the embedding, a multiple of 128; 0 until tokens are known, as
            many as they need.
        embed, heads, head, mlp: widths; `mlp` is also the inner width of one expert.
        layers: number of encoder layers and of decoder layers.
        feed_forward: gelu(x gate) * (x up), then down; or relu(x up), then down; also in experts.
        tied_logits: True to compute logits by the input embedding, from the decoder's output times
            embed^-0.5; False for a separate matrix.
        initialization_scale: s in sigma = sqrt(s / fan_in); 0.1 for Switch (section 2.4), 1 in T5.
        distance_slope: what position biases fall by per token of distance beside their learned
            table, in the first head and half as much in each further one (ALiBi, Press et al.
            2022); 0 in T5.
        switch: configuration of sparse feed-forwards; None for a dense model.
        activation_dtype: type of everything except the router, losses and parameters.
    """

    vocabulary_rows: int
    embed: int
    heads: int
    head: int
    mlp: int
    layers: int
    feed_forward: FeedForwardKind = "gated-gelu"
    tied_logits: bool = False
    initialization_scale: float = 1.0
    distance_slope: float = 0.0
    switch: SwitchConfig | None = None
    activation_dtype: Literal["float32", "bfloat16"] = "bfloat16"

    SECTION = "model."

    def __post_init__(self):
        require_at_least_one(self, "embed", "heads", "head", "mlp", "layers")
        require_positive(self, "initialization_scale")
        require_not_negative(self, "distance_slope")
        require(
            self, ("vocabulary_rows",), lambda rows: 0 <= rows <= LARGEST, f"from 0 to {LARGEST:,}"
        )
        if self.vocabulary_rows % 128:
            raise ConfigurationError(
                f"model.vocabulary_rows was {self.vocabulary_rows}; round it up to a multiple of "
                "128."
            )
        if self.switch is not None and self.layers % self.switch.every:
            raise ConfigurationError(
                f"model.switch.every was {self.switch.every} with {self.layers} layers; the number "
                "of layers must be a multiple of it."
            )

    @property
    def layers_per_block(self) -> int:
        """Number of layers per scanned block: dense ones, then a sparse one."""
        return 1 if self.switch is None else self.switch.every

    @property
    def blocks(self) -> int:
        """Number of blocks per stack."""
        return self.layers // self.layers_per_block


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Number of devices along each axis.

    Attributes:
        data, expert, model: devices along the axis, over all slices.
        slices: number of parts that a slow network joins: TPU slices or GPU hosts. By default they
            are parts of the data axis, each with a replica of all parameters, so that gradients
            cross the network and parameters and tokens never do.
        expert_slices: number of slices that the expert axis spans. Experts are then split over
            slices, which tokens cross, and their gradients stay where they are.
    """

    data: int = 1
    expert: int = 1
    model: int = 1
    slices: int = 1
    expert_slices: int = 1

    SECTION = "mesh."

    def __post_init__(self):
        require_at_least_one(self, "data", "expert", "model", "slices", "expert_slices")

    @property
    def data_slices(self) -> int:
        """Number of slices that the data axis spans."""
        return self.slices // self.expert_slices

    @property
    def sizes(self) -> dict[str, int]:
        """Devices along each axis of the mesh, where slices have axes of their own."""
        within = self.within_slice
        return within | {"replica": self.data_slices, "slice": self.expert_slices}

    @property
    def within_slice(self) -> dict[str, int]:
        """Devices of one slice along each axis."""
        data, expert = self.data // self.data_slices, self.expert // self.expert_slices
        return dict(zip(AXES, (1, data, 1, expert, self.model), strict=True))


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A learning rate over steps: scale / sqrt(max(step, hold_steps)), then linearly to 0.

    Attributes:
        scale: numerator of the rate; 1 in T5.
        hold_steps: steps of constant rate; 10,000 in T5, which makes the rate 0.01.
        decay_from: share of the run after which the rate falls linearly to 0; 1 means never, as
            in T5. Short runs need the decay for a fair comparison at their end.
        warm_up_steps: steps over which the rate rises linearly; 0 in T5.
    """

    scale: float = 1.0
    hold_steps: int = 10_000
    decay_from: float = 1.0
    warm_up_steps: int = 0

    def __post_init__(self):
        require_positive(self, "scale")
        require_at_least_one(self, "hold_steps")
        shares = "a share of the run, from 0 to 1"
        require(self, ("decay_from",), lambda value: 0 <= value <= 1, shares)
        steps = f"from 0 to {LARGEST:,}"
        require(self, ("warm_up_steps",), lambda value: 0 <= value <= LARGEST, steps)


@dataclass(frozen=True, kw_only=True)
class RateFrom(Rate):
    """A rate from one step on: that of a run which has had it from its first step.

    Attributes:
        step: number of steps made before.
    """

    step: int

    def __post_init__(self):
        super().__post_init__()
        require_at_least_one(self, "step")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Rate):
    """The update rule and its learning rate.

    Attributes:
        rule: adafactor (T5, mT5, Switch) or adamw.
        weight_decay: decay of matrices per step, times the rate; AdamW only.
        largest_gradient_norm: gradient norm above which a step is skipped. Norms of healthy runs
            are around 1 and below, and Adafactor clips its updates itself: this limit does not
            clip, it skips steps with exploded gradients.
        rate_from: rates that replace this one, in ascending order of their steps.
    """

    rule: Literal["adafactor", "adamw"] = "adafactor"
    weight_decay: float = 0.0
    largest_gradient_norm: float = 1e3
    rate_from: tuple[RateFrom, ...] = ()

    SECTION = "optimizer."

    def __post_init__(self):
        super().__post_init__()
        if self.rule not in ("adafactor", "adamw"):
            raise ConfigurationError(f"optimizer.rule was {self.rule!r}; it is adafactor or adamw.")
        require_not_negative(self, "weight_decay")
        if self.weight_decay and self.rule == "adafactor":
            raise ConfigurationError(
                f"optimizer.weight_decay was {self.weight_decay} with adafactor, which has none "
                "here; set optimizer.rule=adamw or leave it 0."
            )
        if not self.largest_gradient_norm > 0:  # NaN neither
            raise ConfigurationError(
                f"optimizer.largest_gradient_norm was {self.largest_gradient_norm}; it must be "
                "positive (inf: never skip)."
            )
        require_ascending("optimizer.rate_from", [rate.step for rate in self.rate_from])


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student learns from its teacher; defaults are the paper's best (table 6).

    Attributes:
        hard_share: share of the labels in the targets; the rest are the teacher's probabilities.
        temperature: divisor of both logits in the soft part.
        initialization: first weights of the student (`model/conversions/student.py`): random; the
            teacher's dense weights (non-experts); or these and the load-weighted mean of the
            experts in place of each sparse feed-forward (experts-mean).
    """

    hard_share: float = 0.75
    temperature: float = 1.0
    initialization: Initialization = "non-experts"

    SECTION = "distillation."

    def __post_init__(self):
        if not 0 <= self.hard_share <= 1:
            raise ConfigurationError(
                f"distillation.hard_share was {self.hard_share}; it must be between 0 (the "
                "teacher's probabilities alone) and 1 (the labels alone)."
            )
        require_positive(self, "temperature")
        if self.initialization not in get_args(Initialization):
            raise ConfigurationError(
                f"distillation.initialization was {self.initialization!r}; it must be one of "
                f"{', '.join(get_args(Initialization))}."
            )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: divisor of the logits; 0 takes the most likely token (greedy), 1 samples from
            the model's distribution.
        top_k: number of most likely tokens to sample from; 0 means all.
        top_p: probability that the smallest set of most likely tokens to sample from must reach.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        is_greedy, is_sampled = self.temperature == 0, COLDEST <= self.temperature < math.inf
        if not (is_greedy or is_sampled) or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ConfigurationError(
                f"Sampling was {self}; temperature must be 0 or at least {COLDEST}, top_k 0 (all) "
                "or more, and top_p above 0 and at most 1."
            )
        if is_greedy and (self.top_k or self.top_p < 1):
            raise ConfigurationError(
                f"Sampling was {self}; top_k and top_p choose among sampled tokens: set a "
                "temperature above 0, for example 1."
            )
