"""Predictions of made-up runs: parallel sentences in several languages, some right."""

import numpy as np
import pyarrow as pa

from data.tasks.description import Task
from data.tasks.examples import TaskExample
from eval.tasks.predictions import Predictions, from_table, table_of

LABELS = ("animal", "food", "place")
CLASSIFICATION = Task(
    name="topics", input="{text}", target="{label}", metric="accuracy", labels=LABELS,
    splits={"test": "test"},
)  # fmt: skip
WORDS = {
    "en": ["the", "cat", "sat", "on", "a", "small", "mat", "near", "two", "old", "houses"],
    "sw": ["paka", "mmoja", "mdogo", "alikaa", "karibu", "na", "nyumba", "mbili", "za", "zamani"],
    "zh": list("有一只小猫坐在两座旧房子旁边的垫子上"),
}
QUESTIONS = Task(name="qa", input="{q}", answers="a", metric="f1", splits={"test": "test"})


def classified(seed: int, codes=("en", "sw", "yo"), sentences=30) -> pa.Table:
    """Returns predictions of labels; a sentence is as difficult in every language."""
    rng = np.random.default_rng(seed)
    examples, nats = [], []
    for code in codes:
        for number in range(sentences):
            shared = np.random.default_rng(number)
            right = shared.integers(3)
            examples.append(
                TaskExample(code, f"s{number}", "", LABELS[right], (LABELS[right],), ())
            )
            nats.append(rng.gamma(2.0, 1.0, 3) + shared.gamma(2.0, 1.0, 3))
            nats[-1][right] *= 0.5
    said = [LABELS[rng.choice(3, p=_softmax(one))] for one in nats]
    return table_of(
        CLASSIFICATION, "test", examples, predictions=said, label_nats=np.array(nats),
        overlaps=set(range(0, len(examples), 7)),
    )  # fmt: skip


def answered(seed: int, sentences=12) -> pa.Table:
    """Returns predictions of short texts with one to three answers."""
    rng = np.random.default_rng(seed)
    examples, said = [], []
    for code, words in WORDS.items():
        for number in range(sentences):
            draw = np.random.default_rng((number, len(words)))
            answers = tuple(_phrase(draw, words) for _ in range(draw.integers(1, 4)))
            examples.append(TaskExample(code, f"q{number}", "", answers[0], answers, ()))
            said.append(answers[-1] if rng.random() < 0.3 else _phrase(rng, words))
    return table_of(
        QUESTIONS, "test", examples, predictions=said, overlaps=(),
        label_nats=np.zeros((len(examples), 0)),
    )  # fmt: skip


def read(table: pa.Table) -> Predictions:
    """Returns the predictions of a table."""
    return from_table(table, "a test")


def _phrase(draw: np.random.Generator, words: list[str]) -> str:
    first = draw.integers(len(words) - 3)
    space = "" if len(words[0]) == 1 else " "
    return space.join(words[first : first + draw.integers(1, 5)])


def _softmax(nats: np.ndarray) -> np.ndarray:
    weights = np.exp(-nats)
    return weights / weights.sum()
