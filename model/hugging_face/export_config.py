"""The config.json of a network; one without a form in Transformers is refused.

* Their routing is top-1: a larger top-k cannot be exported. Nor can biases of experts or a shared
  expert, which have no place in their layer.
* Their sparse layers are those with i % step == 1, ours the last of each `every`: the same for
  every 1 or 2.
"""

from typing import Any

from model.config import ModelConfig, SwitchConfig, expert_capacity
from model.configuration_checks import ConfigurationError
from model.hugging_face.config_fields import ARCHITECTURES, AUTO_MAP, FIXED, SPARSE_ACTIVATIONS


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
    switch: dict[str, Any] = {}
    if config.switch is not None:
        gated = config.feed_forward != "relu"
        kind = "mswitch" if gated else "switch_transformers"
        switch = _export_switch(config, config.switch, inputs, targets)
        switch |= {"dense_act_fn": SPARSE_ACTIVATIONS[kind]}
        switch |= {"auto_map": AUTO_MAP} if gated else {}
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
        found = "biases by which experts are chosen" if switch.has_biases else "a shared expert"
        raise ConfigurationError(
            f"Each switch layer of this run has {found}; Transformers' SwitchTransformers has no "
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
