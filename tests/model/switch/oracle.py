"""A switch layer as nested loops over NumPy numbers; imports nothing of ours, on purpose.

Slow and obvious: one choice of one token at a time, all first choices before any second one.
"""

import math
from typing import NamedTuple

import numpy as np


class OracleResult(NamedTuple):
    output: np.ndarray
    expert: np.ndarray
    kept: np.ndarray
    gate: np.ndarray
    entropy: np.ndarray
    balance_loss: float
    z_loss: float


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def switch_group(
    x, is_token, router, gate, up, down, *, choices, capacity, noise=None, dropout_mask=None
) -> OracleResult:
    """One routing group: x [tokens, embed] in float64.

    `capacity` may be infinite; `noise` [tokens, embed] multiplies the router's input;
    `dropout_mask` [tokens, top_k, mlp] multiplies hidden units; without `gate` an expert is a ReLU
    network.
    """
    tokens, experts = len(x), router.shape[1]
    output = np.zeros_like(x)
    expert = np.zeros((tokens, choices), int)
    weight = np.zeros((tokens, choices))
    kept = np.zeros((tokens, choices), bool)
    entropy = np.zeros(tokens)
    share, mean_probability, squares, real = np.zeros(experts), np.zeros(experts), 0.0, 0
    for token in range(tokens):
        seen = x[token] if noise is None else x[token] * noise[token]
        logits = seen @ router
        log_z = logits.max() + math.log(np.exp(logits - logits.max()).sum())
        probabilities = np.exp(logits - log_z)
        ranked = sorted(range(experts), key=lambda e, p=probabilities: (-p[e], e))[:choices]
        expert[token] = ranked
        weight[token] = probabilities[ranked]
        if choices > 1:
            weight[token] /= weight[token].sum()
        entropy[token] = -sum(p * math.log(p) for p in probabilities)
        if is_token[token]:
            real += 1
            squares += log_z**2
            mean_probability += probabilities
            for chosen in ranked:
                share[chosen] += 1 / choices
    used = [0] * experts
    for choice in range(choices):
        for token in range(tokens):
            chosen = expert[token, choice]
            if not is_token[token] or used[chosen] >= capacity:
                continue
            used[chosen] += 1
            kept[token, choice] = True
            hidden = x[token] @ up[chosen]
            if gate is None:
                hidden = np.maximum(hidden, 0)
            else:
                hidden = gelu(x[token] @ gate[chosen]) * hidden
            if dropout_mask is not None:
                hidden = hidden * dropout_mask[token, choice]
            output[token] += weight[token, choice] * (hidden @ down[chosen])
    real = max(real, 1)
    balance = experts * float(np.sum(share / real * mean_probability / real))
    return OracleResult(
        output, expert, kept, weight * kept, entropy, balance, float(squares / real)
    )
