"""A switch layer as nested loops over NumPy numbers; imports nothing of ours, on purpose.

Slow and obvious: one assignment at a time, all top-1 assignments before any top-2.
"""

import math
from typing import NamedTuple

import numpy as np


class OracleResult(NamedTuple):
    output: np.ndarray
    expert_index: np.ndarray
    kept: np.ndarray
    gate: np.ndarray
    entropy: np.ndarray
    balance_loss: float
    z_loss: float


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def switch_group(
    x,
    is_token,
    router,
    gate,
    up,
    down,
    expert_bias=None,
    *,
    top_k,
    capacity,
    noise=None,
    dropout_mask=None,
) -> OracleResult:
    """One routing group: x [tokens, embed] in float64.

    `capacity` may be infinite; `noise` [tokens, embed] multiplies the router's input;
    `dropout_mask` [tokens, top_k, mlp] multiplies hidden units; without `gate` an expert is a ReLU
    network; `expert_bias` [experts] is added to the logits to choose experts.
    """
    tokens, experts = len(x), router.shape[1]
    output = np.zeros_like(x)
    expert_index = np.zeros((tokens, top_k), int)
    weight = np.zeros((tokens, top_k))
    kept = np.zeros((tokens, top_k), bool)
    entropy = np.zeros(tokens)
    share, mean_probability, squares, real = np.zeros(experts), np.zeros(experts), 0.0, 0
    for token in range(tokens):
        seen = x[token] if noise is None else x[token] * noise[token]
        logits = seen @ router
        log_z = logits.max() + math.log(np.exp(logits - logits.max()).sum())
        probabilities = np.exp(logits - log_z)
        scores = probabilities if expert_bias is None else logits + expert_bias
        ranked = sorted(range(experts), key=lambda e, s=scores: (-s[e], e))[:top_k]
        expert_index[token] = ranked
        weight[token] = probabilities[ranked]
        if top_k > 1:
            weight[token] /= weight[token].sum()
        entropy[token] = -sum(p * math.log(p) for p in probabilities)
        if is_token[token]:
            real += 1
            squares += log_z**2
            mean_probability += probabilities
            for chosen in ranked:
                share[chosen] += 1 / top_k
    used = [0] * experts
    for rank in range(top_k):
        for token in range(tokens):
            chosen = expert_index[token, rank]
            if not is_token[token] or used[chosen] >= capacity:
                continue
            used[chosen] += 1
            kept[token, rank] = True
            hidden = x[token] @ up[chosen]
            if gate is None:
                hidden = np.maximum(hidden, 0)
            else:
                hidden = gelu(x[token] @ gate[chosen]) * hidden
            if dropout_mask is not None:
                hidden = hidden * dropout_mask[token, rank]
            output[token] += weight[token, rank] * (hidden @ down[chosen])
    real = max(real, 1)
    balance = experts * float(np.sum(share / real * mean_probability / real))
    return OracleResult(
        output, expert_index, kept, weight * kept, entropy, balance, float(squares / real)
    )
