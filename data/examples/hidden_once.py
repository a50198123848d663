"""A sentence as several span-corrupted examples, which together hide each token exactly once.

    tokens   a b c d e f g h i ...     spans of three tokens, numbered 0, 1, 2, ...
    example  f hides the spans with the numbers f, f + 7, f + 14, ...: 14 % of the tokens

The sum of their losses is the cost of the whole sentence, each token predicted from the words
around it. It is a number for a sentence and not for a token, so it compares languages and
vocabularies on parallel text. It is not a probability of the sentence: a span sees what follows it.
The end of every span but the last is predicted too, as its length is not known to the network. EOS
is not scored, as in held-out pages (`held_out_batches.py`).
"""

import numpy as np
from jaxtyping import Int

from data.examples.span_corruption import Example, replace_spans
from data.tokens.tokenizer import SENTINELS

SPAN = 3  # tokens, as spans have on average in training
EXAMPLES = 7  # of a long sentence: 1/7 of the spans are 14 % of the tokens
LONGEST = SPAN * EXAMPLES * SENTINELS  # tokens: an example marks each of its spans by a sentinel


def hidden_once(tokens: Int[np.ndarray, " tokens"], first_sentinel: int) -> list[Example]:
    """Returns examples that together hide each token once; their targets have no EOS.

    Args:
        tokens: ids of a sentence, without EOS; at least one and at most `LONGEST`.
        first_sentinel: id of `<extra_id_0>`; the next sentinels are the ids below it.
    """
    spans = np.arange(len(tokens)) // SPAN
    count = min(EXAMPLES, int(spans[-1]) + 1)
    return [_example(tokens, spans % count == turn, first_sentinel) for turn in range(count)]


def _example(tokens: np.ndarray, hidden: np.ndarray, first_sentinel: int) -> Example:
    first = int(hidden[0])  # T5 never hides the first token: its sentinel is put before the targets
    inputs = replace_spans(tokens[None], hidden[None], first_sentinel)[0]
    targets = replace_spans(tokens[None], ~hidden[None], first_sentinel - first)[0, :-1]
    targets = targets if hidden[-1] else targets[:-1]  # no sentinel after the last span
    return Example(inputs, np.append([first_sentinel] * first, targets).astype(np.int32))
