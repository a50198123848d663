"""The configuration of a network; validated when it is made, saved with every run.

T5's shape: pre-norm RMSNorm, no biases anywhere, attention without 1/sqrt(head) (it is folded into
the initialization), relative positions in 32 buckets up to distance 128 shared by all layers of a
stack. Two fields distinguish its versions:

| | `feed_forward` | `tied_logits` |
|---|---|---|
| T5 1.0 (Raffel et al. 2020), Switch-Base and -Large as released | relu | True |
| T5 1.1, mT5 (Xue et al. 2021), Switch-XXL as released | gated-gelu | False |
| Switch-C as released | relu | False |

A Switch Transformer differs in one field: with `switch` set, every `every`-th feed-forward is
sparse. No JAX is imported here.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from model.configuration_checks import (
    LARGEST,
    ConfigurationError,
    at_least_one,
    not_negative,
    positive,
    require,
)

Dispatch = Literal["slots", "dropless"]
Balanced = Literal["group", "batch"]
FeedForwardKind = Literal["gated-gelu", "relu"]
# What the backward pass keeps of a block (model/remat.py).
Remat = Literal["none", "full", "exchanges", "attention", "products"]


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
            has 1 (docs/results/short-runs.md measures both).
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
        at_least_one(
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
        for name, words in (("dispatch", Dispatch), ("balance_loss_over", Balanced)):
            if (value := getattr(self, name)) not in get_args(words):
                raise ConfigurationError(
                    f"model.switch.{name} was {value!r}; it must be {' or '.join(get_args(words))}."
                )
        positive(self, "router_scale", "expert_output_scale")
        # Factor 0 leaves `minimum_capacity`: Transformers configures the capacity itself.
        not_negative(self, "capacity_factor_training", "capacity_factor_evaluation")
        not_negative(self, "balance_loss_weight", "z_loss_weight", "bias_rate")
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
        at_least_one(self, "embed", "heads", "head", "mlp", "layers")
        positive(self, "initialization_scale")
        not_negative(self, "distance_slope")
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
