"""A network whose switch layers compute every token, for texts that must not depend on their batch.

Capacity serves training: which tokens it drops depends on the other tokens of a routing group. What
is generated or scored for a user uses dropless dispatch. (Cached decoding in Transformers drops
nothing either.)
"""

from dataclasses import replace

from model.transformer import Transformer


def never_dropping(model: Transformer, source: int, target: int = 1) -> Transformer:
    """Returns the network with dropless dispatch.

    Args:
        model: the network; a dense one is returned as it is.
        source: tokens per input sequence, which is one routing group of the encoder.
        target: tokens per call of the decoder and sequence: 1 in decoding step by step.
    """
    switch = model.config.switch
    if switch is None:
        return model
    switch = replace(
        switch,
        encoder_group_tokens=source,
        decoder_group_tokens=target,
        dispatch="dropless",
    )
    return replace(
        model,
        encoder=replace(model.encoder, switch=switch),
        decoder=replace(model.decoder, switch=switch),
        config=replace(model.config, switch=switch),
    )
