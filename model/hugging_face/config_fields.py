"""Fields of the config.json of Hugging Face's T5, MT5 and SwitchTransformers, and of our type.

Their experts are ReLU networks. Gated ones are of a type of our own, `mswitch`, whose code is in
the exported folder (`modeling_mswitch.py`).

* Their capacity is a number of tokens per expert and *sequence*, the same in training and
  evaluation. Import makes it the minimum capacity, with one sequence per routing group. Export
  keeps a minimum above a run's inputs, for sequences that are longer.
* With T5's `tie_word_embeddings: false` logits are not scaled (Transformers 5 then keeps two
  matrices if they differ); MT5 never scales them.
"""

from typing import Annotated, Any, Required, TypedDict

from msgspec import Meta

from model.configuration_checks import LARGEST
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
SPARSE_ACTIVATIONS = {"switch_transformers": "relu", "mswitch": "gelu_new"}
# Fields with a single supported value, which is also Transformers' default.
FIXED: dict[str, Any] = {
    "relative_attention_num_buckets": BUCKETS,
    "relative_attention_max_distance": FARTHEST,
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
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
