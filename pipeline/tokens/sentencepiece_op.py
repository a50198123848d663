"""tensorflow-text's SentencePiece op behind one call: texts in, ids out.

The only file that imports TensorFlow, and never in a process that identifies languages: TensorFlow
first and CLD3 second crashes. Loading takes 3 to 9 s; after that the op is as fast as SentencePiece
itself, and its ids are the same (tests compare them; SentencePiece is pinned to the version that
breaks ties in the same way).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Int


@contextmanager
def _silent_native_code() -> Iterator[None]:
    """Keeps TensorFlow's four start-up lines about graphics cards off the terminal.

    C++ prints them before any log level applies; exceptions are still raised.
    """
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # text needs no accelerator; JAX uses it
with _silent_native_code():
    import tensorflow as tf
    import tensorflow_text


class SentencePieceOp:
    """A loaded model."""

    def __init__(self, model: bytes):
        with _silent_native_code():
            self._tokenizer = tensorflow_text.SentencepieceTokenizer(
                model=model,
                out_type=tf.int32,  # pyright: ignore[reportArgumentType]
            )
            self._tokenizer.tokenize(["warm"])

    def __call__(self, texts: Sequence[str]) -> list[Int[np.ndarray, " tokens"]]:
        """Returns the ids of each text, without EOS."""
        ragged: Any = self._tokenizer.tokenize(list(texts))
        return np.split(ragged.values.numpy(), ragged.row_splits.numpy()[1:-1])
