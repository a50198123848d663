"""A switch layer as nested loops over NumPy numbers; imports nothing of ours, on purpose.

Slow and obvious: one token at a time, in order of position.
"""

import math
from typing import NamedTuple

import numpy as np


class OracleResult(NamedTuple):
    output: np.ndarray
    expert: np.ndarray
    kept: np.ndarray
    balance_loss: float


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def switch_group(x, is_token, router, gate, up, down, capacity) -> OracleResult:
    """One routing group: x [tokens, embed] in float64."""
    tokens, experts = len(x), router.shape[1]
    output = np.zeros_like(x)
    chosen = np.zeros(tokens, int)
    kept = np.zeros(tokens, bool)
    used = [0] * experts
    share, mean_probability, real = np.zeros(experts), np.zeros(experts), 0
    for token in range(tokens):
        logits = x[token] @ router
        exponentials = np.exp(logits - logits.max())
        probabilities = exponentials / exponentials.sum()
        expert = int(np.argmax(probabilities))
        chosen[token] = expert
        if not is_token[token]:
            continue
        real += 1
        share[expert] += 1
        mean_probability += probabilities
        if used[expert] < capacity:
            used[expert] += 1
            kept[token] = True
            hidden = gelu(x[token] @ gate[expert]) * (x[token] @ up[expert])
            output[token] = probabilities[expert] * (hidden @ down[expert])
    real = max(real, 1)
    balance = experts * float(np.sum(share / real * mean_probability / real))
    return OracleResult(output, chosen, kept, balance)
