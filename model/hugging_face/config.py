"""The config.json of Hugging Face's T5, MT5 and SwitchTransformers, to our configuration and back.

What has no form on the other side is refused:

* Their experts are ReLU networks, and with untied logits Transformers 5 trains three embeddings
  apart. Gated experts and untied logits are of a type of our own, `mswitch`, whose code is in the
  exported folder (`modeling_mswitch.py`).
* Their routing is top-1: a larger top-k cannot be exported. Nor can biases of experts or a shared
  expert, which have no place in their layer.
* Their sparse layers are those with i % step == 1, ours the last of each `every`: the same for
  every 1 or 2.
* Their capacity is a number of tokens per expert and *sequence*, the same in training and
  evaluation. Import makes it the minimum capacity, with one sequence per routing group. Export
  keeps a minimum above a run's inputs, for sequences that are longer.
* With T5's `tie_word_embeddings: false` logits are not scaled (Transformers 5 then keeps two
  matrices if they differ); MT5 never scales them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Required, TypedDict

from msgspec import Meta

from model.config import (
    EOS,
    LARGEST,
    PADDING,
    ConfigurationError,
    ModelConfig,
    SwitchConfig,
    expert_capacity,
)
from model.layers.position_bias import BUCKETS, FARTHEST

ARCHITECTURES = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
    "switch_transformers": "SwitchTransformersForConditionalGeneration",
    "mswitch": "MSwitchForConditionalGeneration",
}
MODELING = "modeling_mswitch"  # file of the exported folder that defines the type `mswitch`
AUTO_MAP = {
    "AutoConfig": f"{MODELING}.MSwitchConfig",
    "AutoModelForSeq2SeqLM": f"{MODELING}.{ARCHITECTURES['mswitch']}",
}
# Of each sparse type, our name of an activation by theirs; the first is the type's usual one.
SPARSE_ACTIVATIONS = {
    "switch_transformers": {"relu": "relu"},
    "mswitch": {"gelu_new": "gated-gelu", "relu": "relu"},
}
# Fields with a single supported value, which is also Transformers' default.
FIXED: dict[str, Any] = {
    "relative_attention_num_buckets": BUCKETS,
    "relative_attention_max_distance": FARTHEST,
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": PADDING,
    "eos_token_id": EOS,
    "decoder_start_token_id": PADDING,
}
SIZES = ("vocab_size", "d_model", "num_heads", "d_kv", "d_ff", "num_layers")
SPARSE_SIZES = ("num_experts", "expert_capacity")
SPARSE_LAYERS = ("num_sparse_encoder_layers", "num_sparse_decoder_layers")

_Size = Annotated[int, Meta(ge=1, le=LARGEST)]
_Layers = Annotated[int, Meta(ge=0, le=LARGEST)]


class TheirConfig(TypedDict, total=False):
    """The fields of a config.json that are read; all others are ignored."""

    model_type: Required[str]
    vocab_size: _Size
    d_model: _Size
    num_heads: _Size
    d_kv: _Size
    d_ff: _Size
    num_layers: _Size
    num_decoder_layers: _Size | None
    feed_forward_proj: str | None
    dense_act_fn: str | None
    tie_word_embeddings: bool | None
    scale_decoder_outputs: bool
    num_experts: _Size
    num_sparse_encoder_layers: _Layers
    num_sparse_decoder_layers: _Layers
    expert_capacity: _Size
    router_bias: bool | None
    router_aux_loss_coef: float
    router_z_loss_coef: float
    router_jitter_noise: float
    relative_attention_num_buckets: int | None
    relative_attention_max_distance: int | None
    layer_norm_epsilon: float | None
    pad_token_id: int | None
    eos_token_id: int | None
    decoder_start_token_id: int | None


def export_config(config: ModelConfig, inputs: int, targets: int) -> dict[str, Any]:
    """Returns the contents of config.json.

    Args:
        config: the network.
        inputs, targets: tokens per sequence. An expert's capacity is a share of the inputs, and
            for dropless dispatch the larger of both.

    Raises:
        ConfigurationError: if Transformers cannot express the network.
    """
    kind = "t5" if config.tied_logits or config.feed_forward == "relu" else "mt5"
    switch: dict[str, Any]
    if config.switch is not None:
        gated = config.feed_forward != "relu"
        kind = "mswitch" if gated or not config.tied_logits else "switch_transformers"
        switch = _export_switch(config, config.switch, inputs, targets)
        switch["dense_act_fn"] = "gelu_new" if gated else "relu"
        if kind == "mswitch":
            switch["auto_map"] = AUTO_MAP
    else:
        switch = {"feed_forward_proj": config.feed_forward}
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "is_encoder_decoder": True,
        "vocab_size": config.vocabulary_rows,
        "d_model": config.embed,
        "d_kv": config.head,
        "d_ff": config.mlp,
        "num_heads": config.heads,
        "num_layers": config.layers,
        "num_decoder_layers": config.layers,
        "tie_word_embeddings": config.tied_logits,
        "dropout_rate": 0.0,
        "dtype": "float32",
        **FIXED,
        **switch,
    }


def _export_switch(
    config: ModelConfig, switch: SwitchConfig, inputs: int, targets: int
) -> dict[str, Any]:
    if switch.every > 2:
        raise ConfigurationError(
            f"One in {switch.every} feed-forwards of this run is sparse, the last of each; "
            "Transformers' SwitchTransformers makes the second of each sparse, which is the same "
            "for model.switch.every 1 and 2 only."
        )
    if switch.choices > 1:
        raise ConfigurationError(
            f"Each token of this run has {switch.choices} experts; Transformers' "
            "SwitchTransformers has one. Export a run with model.switch.choices=1."
        )
    if switch.has_biases or switch.shared_mlp:
        part = "biases by which experts are chosen" if switch.has_biases else "a shared expert"
        raise ConfigurationError(
            f"Each switch layer of this run has {part}; Transformers' SwitchTransformers has no "
            "place for it. Export a run without bias_rate, quantile_rate and shared_mlp."
        )
    sparse = config.layers // switch.every
    return {
        "num_experts": switch.experts,
        "num_sparse_encoder_layers": sparse,
        "num_sparse_decoder_layers": sparse,
        "expert_capacity": max(inputs, targets)  # one number for both stacks
        if switch.dispatch == "dropless"
        else max(
            expert_capacity(inputs, switch.experts, switch.capacity_factor_evaluation, 1),
            switch.minimum_capacity,
        ),
        "router_bias": False,
        "router_dtype": "float32",
        "router_jitter_noise": switch.jitter,
        "router_aux_loss_coef": switch.balance_loss_weight,
        "router_z_loss_coef": switch.z_loss_weight,
    }


def import_config(theirs: Mapping[str, Any], inputs: int, targets: int) -> ModelConfig:
    """Returns the network that a config.json describes, in float32 as in Transformers.

    Args:
        theirs: the JSON object.
        inputs, targets: tokens per sequence, which become the routing groups.

    Raises:
        ConfigurationError: if the model is of another type, or a field has an unsupported value.
    """
    kind = theirs.get("model_type")
    if kind not in ARCHITECTURES:
        raise ConfigurationError(
            f"The model is of type {kind!r}; {', '.join(ARCHITECTURES)} can be imported."
        )
    sparse = kind in SPARSE_ACTIVATIONS
    _check_complete(kind, theirs, (*SIZES, *(SPARSE_SIZES + SPARSE_LAYERS if sparse else ())))
    layers = theirs["num_layers"]
    required = FIXED | {"num_decoder_layers": layers, "router_bias": False}
    odd = [
        f"{name} is {theirs[name]} and must be {value}"
        for name, value in required.items()
        if theirs.get(name) not in (None, value)
    ]
    activation: Any = _activation(kind, theirs)  # one of two words once it is checked
    if activation not in ("relu", "gated-gelu"):
        odd.append(f"the activation is {activation} and must be relu or (dense) gated-gelu")
    if theirs["vocab_size"] % 128:
        odd.append(
            f"vocab_size is {theirs['vocab_size']} and must be a multiple of 128, as it is after "
            "Transformers' resize_token_embeddings(pad_to_multiple_of=128)"
        )
    if odd:
        raise ConfigurationError(
            f"The {kind} model cannot be imported: {'; '.join(odd)}; import a model with these."
        )
    return ModelConfig(
        vocabulary_rows=theirs["vocab_size"],
        embed=theirs["d_model"],
        heads=theirs["num_heads"],
        head=theirs["d_kv"],
        mlp=theirs["d_ff"],
        layers=layers,
        feed_forward=activation,
        tied_logits=_scales_logits(theirs),
        switch=_import_switch(theirs, inputs, targets) if sparse else None,
        activation_dtype="float32",
    )


def _activation(kind: str, theirs: Mapping[str, Any]) -> str:
    """Returns the feed-forward as we name it, or their name of one that is not ours."""
    if kind not in SPARSE_ACTIVATIONS:
        return theirs.get("feed_forward_proj") or ("gated-gelu" if kind == "mt5" else "relu")
    known = SPARSE_ACTIVATIONS[kind]
    activation = theirs.get("dense_act_fn") or next(iter(known))
    return known.get(activation, f"{activation} for {kind}")


def _check_complete(kind: str, theirs: Mapping[str, Any], names: tuple[str, ...]) -> None:
    if missing := [name for name in names if name not in theirs]:
        raise ConfigurationError(
            f"The {kind} model cannot be imported: its config.json lacks {', '.join(missing)}; "
            "save the model again with Transformers (save_pretrained)."
        )


def _scales_logits(theirs: Mapping[str, Any]) -> bool:
    """Returns whether logits are scaled by embed^-0.5, as in T5 1.0 only."""
    if theirs["model_type"] == "mt5":
        return False
    tied = theirs.get("tie_word_embeddings") is not False
    return theirs.get("scale_decoder_outputs", tied)


def _import_switch(theirs: Mapping[str, Any], inputs: int, targets: int) -> SwitchConfig:
    sparse = theirs["num_sparse_encoder_layers"]
    every = theirs["num_layers"] // max(sparse, 1)
    if every not in (1, 2) or theirs["num_sparse_decoder_layers"] != sparse:
        raise ConfigurationError(
            f"{sparse} encoder and {theirs['num_sparse_decoder_layers']} decoder layers of "
            f"{theirs['num_layers']} are sparse; only all or every second of both can be imported."
        )
    return SwitchConfig(
        experts=theirs["num_experts"],
        every=every,
        encoder_group_tokens=inputs,
        decoder_group_tokens=targets,
        capacity_factor_training=0.0,
        capacity_factor_evaluation=0.0,
        minimum_capacity=theirs["expert_capacity"],
        balance_loss_weight=theirs.get("router_aux_loss_coef", 1e-3),
        z_loss_weight=theirs.get("router_z_loss_coef", 1e-3),
        jitter=theirs.get("router_jitter_noise", 0.01),
    )
