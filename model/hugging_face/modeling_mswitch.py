"""A Switch Transformer with gated experts, for Transformers on PyTorch.

    AutoModelForSeq2SeqLM.from_pretrained(DIR, trust_remote_code=True)

`mswitch export-hf` copies this file into DIR, because Transformers' SwitchTransformers has ReLU
feed-forwards only, and trains three embeddings apart where logits have a matrix of their own. This
is that network with one embedding and, where `dense_act_fn` is not ReLU, with mT5's feed-forward,
gelu(x wi_0) * (x wi_1), then wo, in dense layers and in experts. It imports PyTorch and
Transformers, and nothing of mswitch.
"""
# pyright: reportMissingImports=false

from torch import nn
from transformers import SwitchTransformersConfig, SwitchTransformersForConditionalGeneration
from transformers.activations import ACT2FN
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersDenseActDense,
)


class MSwitchConfig(SwitchTransformersConfig):
    """The settings of SwitchTransformers; `dense_act_fn` is the gate's, "relu" for no gate."""

    model_type = "mswitch"


class GatedFeedForward(nn.Module):
    """A feed-forward whose hidden units are gated."""

    def __init__(self, config):
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.act = ACT2FN[config.dense_act_fn]

    def forward(self, hidden_states):
        """Returns the outputs, of the shape of the inputs."""
        gated = self.act(self.wi_0(hidden_states)) * self.wi_1(hidden_states)
        return self.wo(self.dropout(gated))


class MSwitchForConditionalGeneration(SwitchTransformersForConditionalGeneration):
    """SwitchTransformers with gated feed-forwards, and one embedding also with untied logits."""

    config_class = MSwitchConfig

    def __init__(self, config):
        super().__init__(config)
        for module in list(self.modules()) if config.dense_act_fn != "relu" else ():
            for name, child in list(module.named_children()):
                if isinstance(child, SwitchTransformersDenseActDense):
                    setattr(module, name, GatedFeedForward(config))
        self.post_init()

    def get_expanded_tied_weights_keys(self, all_submodels=False):
        """Returns the names of parameters that are others': both stacks share the embedding."""
        stacks = {f"{name}.embed_tokens.weight": "shared.weight" for name in ("encoder", "decoder")}
        return stacks | super().get_expanded_tied_weights_keys(all_submodels)
