"""The network that a config.json describes; another type or an unknown part is refused."""

from collections.abc import Mapping
from typing import Any

from model.config import ModelConfig, SwitchConfig
from model.configuration_checks import ConfigurationError
from model.hugging_face.config_fields import (
    ARCHITECTURES,
    FIXED,
    SIZES,
    SPARSE_ACTIVATIONS,
    SPARSE_LAYERS,
    SPARSE_SIZES,
)


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
    expected = SPARSE_ACTIVATIONS[kind]
    found = theirs.get("dense_act_fn") or expected
    if found != expected:
        return f"{found} for {kind}"
    return "gated-gelu" if kind == "mswitch" else "relu"


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
