"""Scores on tasks: predictions at a step, the best step so far, and what a parallel sentence costs.

A sentence of a parallel text costs the sum of its tokens' losses, each token hidden exactly once
and predicted from the words around it:

    tokens   a b c d e f g h i ...     spans of three tokens, numbered 0, 1, 2, ...
    example  f hides the spans with the numbers f, f + 7, f + 14, ...: 14 % of the tokens

It is not a probability of the sentence: a span sees what follows it. The end of every span but the
last is predicted too, as its length is not known to the network. EOS is not scored, as in held-out
pages (`held_out_batches.py`). Dispatch is dropless, so a sentence's number depends on the sentence
alone.

Nats per sentence compare languages and vocabularies: all languages say the same, and no number is
divided by tokens or bytes. The form of a language still differs from that of another (a caveat of
docs/tasks.md).
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from data.examples.span_corruption import (
    PADDING,
    Example,
    Lengths,
    lengths_for_inputs,
    replace_spans,
)
from data.examples.task_examples import cut_ids
from data.files.parquet_files import write_table
from data.files.paths import Place, exists
from data.languages import get
from data.tasks.description import Task
from data.tasks.examples import TaskData, TaskExample
from data.tokens.tokenizer import MODEL_FILE, SENTINELS, Tokenizer, load
from eval.tasks.comparison import SENTENCES_SCHEMA
from eval.tasks.metrics import largest_class
from eval.tasks.predictions import from_table, table_of
from model.batch import Batch, Call
from model.decoding.generation import never_dropping
from model.loss.scoring import score
from model.sharding.layouts import batch_sharding, replicated_layout
from model.trainer import Trainer
from pipeline.corpus.pages import read_corpus
from pipeline.errors import ArtifactError
from pipeline.hardware.batches import to_devices
from pipeline.hardware.hosts import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import best_step, record_score, recorded_scores
from pipeline.runs.tasks import (
    DESCRIPTION,
    SENTENCES,
    check_metric,
    predictions_file,
    read_predictions,
    read_task_of,
    scores_by_language,
    write_predictions,
)
from pipeline.training.evaluation import Scored, rows_without_capacity
from pipeline.training.tasks.given_tasks import Finetuning, overlaps_with, rows_set_aside
from pipeline.training.tasks.predictor import Predictor, label_ids

DEVELOPMENT = "development"
TEST = "test"


class TaskEvaluator(NamedTuple):
    """Evaluates a run on the development data of its tasks.

    Attributes:
        tasks: tasks with their data.
        tokenizer: the run's tokenizer.
        recipe: the run's recipe.
        out: the run's directory.
        targets: tokens per generated answer, at most.
        predictors: predictor of each task, made at its first use.
        beams: number of beams of the search for an answer; 1 is greedy.
    """

    tasks: Sequence[TaskData]
    tokenizer: Tokenizer
    recipe: Recipe
    out: Place
    targets: int
    predictors: dict[str, Predictor]
    beams: int = 1

    def is_written(self, step: int) -> bool:
        """Returns whether the step has a score, which is written last, and its predictions."""
        return step in recorded_scores(self.out) and all(
            exists(self.file(data, DEVELOPMENT, step)) for data in self.tasks
        )

    def best(self) -> Collection[int]:
        """Returns the best step so far, once one is evaluated."""
        step = best_step(self.out)
        return () if step is None else (step,)

    def evaluate(
        self, trainer: Trainer, arrays: Any, step: int, stop: Callable[[], bool]
    ) -> Scored | None:
        """Predicts development data and writes the best step; None if it was stopped."""
        by_language: dict[str, float] = {}
        means = []
        for data in self.tasks:
            scores = self.predict(trainer, arrays, data, DEVELOPMENT, step, stop=stop)
            if scores is None:
                return None
            means.append(self.chosen_by(scores))
            by_language |= {f"{data.task.name}/{code}": score for code, score in scores.items()}
        score = fmean(means)
        if is_first():
            record_score(self.out, step, score)
        return Scored("score", score, by_language)

    def chosen_by(self, scores: Mapping[str, float]) -> float:
        """Returns a task's part in the choice of the best step: the mean over training languages.

        Where a run learns English alone, its scores elsewhere are near chance: their mean would
        choose a step by noise, and would use development data that a zero-shot run does not have.
        """
        config = self.recipe.finetuning
        assert config is not None  # a recipe of `mswitch finetune`
        trained_on = {get(code).code for code in config.languages}
        own = [score for code, score in scores.items() if code in trained_on]
        return fmean(own or scores.values())

    def predict(
        self,
        trainer: Trainer,
        arrays: Any,
        data: TaskData,
        split: str,
        step: int,
        overlaps: Collection[int] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, float] | None:
        """Writes a run's predictions on one split, and of a sparse run their routing.

        Args:
            trainer: functions of the network.
            arrays: weights to predict with.
            data: a task.
            split: name of the split.
            step: step of the weights.
            overlaps: positions of examples that share text with the pretraining corpus; None if
                that was not looked for.
            stop: called before every batch; True abandons the predictions.

        Returns:
            Score of each language in percent; None if it was stopped.
        """
        examples: list[TaskExample] = getattr(data, split)
        # Where labels are scored, development data choose a step, and text is not needed for that.
        answers = self.predictor(trainer, data).answers(
            arrays, examples, stop, with_text=split == TEST
        )
        if answers is None:
            return None
        table = table_of(
            data.task,
            split,
            examples,
            predictions=answers.texts,
            label_nats=answers.label_nats,
            overlaps=overlaps,
        )
        path = self.file(data, split, step)
        if is_first():
            write_predictions(path, data.task, table, answers.routing)
        return scores_by_language(data.task, from_table(table, str(path)))

    def predictor(self, trainer: Trainer, data: TaskData) -> Predictor:
        """Returns the predictor of a task, whose programs are compiled once."""
        name = data.task.name
        if name not in self.predictors:
            lengths = self.recipe.lengths
            # Of each row the encoder computes the input, and the decoder all labels.
            tokens = max(lengths.inputs, label_ids(data.task, self.tokenizer).size)
            self.predictors[name] = Predictor(
                trainer,
                self.tokenizer,
                data.task,
                rows=rows_without_capacity(self.recipe, trainer, tokens),
                inputs=lengths.inputs,
                targets=self.targets,
                beams=self.beams,
                logits_bytes=self.recipe.logits_bytes,
            )
        return self.predictors[name]

    def cut_in_words(self, data: TaskData) -> Iterator[str]:
        """Yields a sentence if test inputs are longer than a row."""
        inputs = self.recipe.lengths.inputs
        _, cut = cut_ids([example.input for example in data.test], self.tokenizer, inputs)
        if cut:
            yield (
                f"{data.task.name}: {cut:,} of {len(data.test):,} test inputs have more than "
                f"{inputs} tokens and lost their end; fine-tuning with --set inputs=N allows more."
            )

    def file(self, data: TaskData, split: str, step: int) -> Place:
        """Returns the path of the predictions of one split."""
        return file_of(self.out, data, split, step, self.beams)


def file_of(run: Place, data: TaskData, split: str, step: int, beams: int) -> Place:
    """Returns the path of a run's predictions of one split; beams are part of its name."""
    name = split if beams == 1 else f"{split}-{beams}-beams"
    return predictions_file(run, data.task.name, name, step)


# As the sentence goes on after the scores of weights that know no more than a constant answer.
NOTHING_LEARNED = "no more than that class: try more steps, or a run that was pretrained for longer"


def score_in_words(
    data: TaskData, scores: Mapping[str, float], examples: Sequence[TaskExample], of: str = ""
) -> str:
    """Returns a task's mean score; of a classification also what needs no reading."""
    said = f"{data.task.name}: {fmean(scores.values()):.1f} %{of}, mean of {len(scores)} languages"
    if not data.task.labels:
        return said
    scored = [example for example in examples if example.language in scores]
    largest = largest_class(*zip(*((each.language, each.target) for each in scored), strict=True))
    random = 100 / len(data.task.labels)
    said = f"{said} (always the largest class: {largest:.1f} %, a random label: {random:.1f} %)"
    learned = fmean(scores.values()) > largest
    return said if learned else f"{said}; {NOTHING_LEARNED}"


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


class Sentence(NamedTuple):
    """A sentence as rows to score.

    Attributes:
        examples: rows that together hide each token once.
        tokens: number of its tokens that are scored.
        cut: whether it was longer than a row, and lost its end.
    """

    examples: list[Example]
    tokens: int
    cut: bool


class SentenceScorer:
    """Scores the sentences of parallel texts, all with one program.

    Args:
        trainer: functions of the network.
        recipe: recipe of the run.
        tokenizer: the run's tokenizer.
    """

    def __init__(self, trainer: Trainer, recipe: Recipe, tokenizer: Tokenizer):
        self.mesh, self.tokenizer = trainer.mesh, tokenizer
        self.lengths = lengths = lengths_for_inputs(recipe.inputs)
        self.rows = rows_without_capacity(recipe, trainer, lengths.inputs)
        call = Call(trainer.mesh, logits_bytes=recipe.logits_bytes)

        @functools.partial(
            jax.jit,
            in_shardings=(trainer.shardings.arrays, batch_sharding(trainer.mesh)),
            out_shardings=replicated_layout(trainer.mesh),
        )
        def row_nats(arrays: Any, batch: Batch) -> jax.Array:
            model = never_dropping(trainer.model(arrays), lengths.inputs, lengths.targets)
            return score(model, batch, call, languages=0)[0].loss_nats

        self._row_nats = row_nats

    def losses(self, arrays: Any, examples: Sequence[TaskExample]) -> pa.Table:
        """Returns the loss of each example's text as a table of `SCHEMA`.

        Args:
            arrays: weights.
            examples: examples whose first text is a sentence.
        """
        texts = [example.texts[0] for example in examples]
        sentences = [sentence_rows(text, self.tokenizer, self.lengths) for text in texts]
        rows = [row for sentence in sentences for row in sentence.examples]
        owner = np.repeat(
            np.arange(len(sentences)), [len(sentence.examples) for sentence in sentences]
        )
        columns = {
            "language": [example.language for example in examples],
            "identity": [example.identity for example in examples],
            "loss_nats": np.bincount(owner, self._nats(arrays, rows), len(sentences)),
            "tokens": [sentence.tokens for sentence in sentences],
            "text_bytes": [len(text.encode()) for text in texts],
            "cut": [sentence.cut for sentence in sentences],
        }
        return pa.table(columns, SENTENCES_SCHEMA)

    def _nats(self, arrays: Any, rows: Sequence[Example]) -> Float[np.ndarray, " rows"]:
        """Returns the loss of each row, in nats, summed over its targets."""
        nats = [
            np.asarray(self._row_nats(arrays, to_devices(batch, self.mesh, self.rows)), np.float64)
            for batch in batches(rows, self.lengths, self.rows)
        ]
        return np.concatenate([*nats, np.zeros(0)])[: len(rows)]


def sentence_rows(text: str, tokenizer: Tokenizer, lengths: Lengths) -> Sentence:
    """Returns a sentence as rows, cut until inputs and targets fit."""
    ids = tokenizer.encode(text)
    for size in range(min(len(ids), LONGEST, lengths.inputs + lengths.targets), 0, -1):
        rows = hidden_once(ids[:size], tokenizer.first_sentinel)
        if all(len(r.inputs) <= lengths.inputs and len(r.targets) <= lengths.targets for r in rows):
            return Sentence(rows, size, size < len(ids))
    return Sentence([], 0, len(ids) > 0)


def batches(
    rows: Sequence[Example], lengths: Lengths, size: int
) -> Iterator[dict[str, Int[np.ndarray, "..."]]]:
    """Yields batches of exactly `size` rows, padded."""
    for first in range(0, len(rows), size):
        inputs = np.full((size, lengths.inputs), PADDING, np.int32)
        targets = np.full((size, lengths.targets), PADDING, np.int32)
        for at, row in enumerate(rows[first : first + size]):
            inputs[at, : len(row.inputs)] = row.inputs
            targets[at, : len(row.targets)] = row.targets
        language = np.full(size, -1, np.int32)
        yield {"inputs": inputs, "targets": targets, "language": language}


class TaskScoring:
    """The scores of one checkpoint of a run on tasks.

    Args:
        run: directory of the run.
        recipe: its recipe.
        trainer: functions of its network.
        arrays: weights of the checkpoint.
        step: step of the checkpoint.
    """

    def __init__(self, run: Place, recipe: Recipe, trainer: Trainer, arrays: Any, step: int):
        self.run, self.recipe, self.trainer = run, recipe, trainer
        self.arrays, self.step = arrays, step
        self.tokenizer = load(run / MODEL_FILE)

    def predict(self, tasks: Sequence[TaskData], corpus: str | None, beams: int) -> list[str]:
        """Writes predictions on the test data of tasks; returns a sentence about each.

        Args:
            tasks: tasks with their data.
            corpus: corpus of the pretraining, whose shared text is marked; None if not known.
            beams: number of beams of the search for an answer; 1 is greedy.
        """
        said = []
        overlaps = overlaps_with(corpus, [data.test for data in tasks])
        for data, shared in zip(tasks, overlaps, strict=True):
            evaluator = self.evaluator(data, beams)
            scores = evaluator.predict(
                self.trainer, self.arrays, data, TEST, self.step, overlaps=shared
            )
            assert scores is not None  # it was not stopped
            said += [*rows_set_aside(data), *evaluator.cut_in_words(data)]
            path = evaluator.file(data, TEST, self.step)
            said.append(f"{score_in_words(data, scores, data.test)}, in {path}")
        return said

    def evaluator(self, data: TaskData, beams: int) -> TaskEvaluator:
        """Returns the evaluator of a task; the length of its answers depends on no other task."""
        alone = Finetuning((data,), self.tokenizer, self.run / MODEL_FILE)
        targets = alone.answer_tokens(self.recipe)
        return TaskEvaluator([data], self.tokenizer, self.recipe, self.run, targets, {}, beams)

    def score_sentences(self, tasks: Sequence[TaskData]) -> list[str]:
        """Writes the loss of each test sentence of tasks; returns a sentence about each task."""
        said, scorer = [], SentenceScorer(self.trainer, self.recipe, self.tokenizer)
        for data in tasks:
            table = scorer.losses(self.arrays, data.test)
            path = predictions_file(self.run, data.task.name, SENTENCES, self.step)
            if is_first():
                write_table(table, path, self.run)
            said.append(
                f"{data.task.name}: {fmean(table['loss_nats'].to_pylist()):.1f} nats per sentence, "
                f"mean of {table.num_rows:,} sentences, in {path}"
            )
        return said


def check_scores(
    tasks: Sequence[TaskData],
    texts: Sequence[TaskData],
    files: Sequence[Place],
    corpus: str | None,
) -> None:
    """Checks all tasks and parallel texts, before the first is scored.

    Args:
        tasks: tasks to predict.
        texts: parallel texts whose sentences are scored.
        files: file of each task's predictions.
        corpus: corpus of the pretraining; None if it is not known.

    Raises:
        ArtifactError: if there is nothing to score, no such corpus, or earlier predictions would
            lose what they hold.
        DataError: if a metric's library is missing.
    """
    if corpus is not None:
        read_corpus(corpus)
    for data in (*tasks, *texts):
        check_has_test(data)
    for data, path in zip(tasks, files, strict=True):
        check_metric(data.task)
        check_may_replace(path, data.task, corpus)


def check_has_test(data: TaskData) -> None:
    """Checks that a task has test data.

    Raises:
        ArtifactError: if it has none.
    """
    if not data.test:
        raise ArtifactError(
            f"Task {data.task.name} was to be scored on its test split, which its description does "
            f"not name ({', '.join(data.task.splits)}); add it to `splits`."
        )


def check_may_replace(path: Place, task: Task, corpus: str | None) -> None:
    """Checks that predictions on test data would not lose what earlier ones hold.

    Raises:
        ArtifactError: if earlier ones are of another description, or marked text that they share
            with a corpus, and none is named.
    """
    if exists(path.parent / DESCRIPTION) and read_task_of(path) != task:
        raise ArtifactError(
            f"{path.parent} holds predictions of another description of {task.name}; give the new "
            "one another name, or remove the folder."
        )
    if not exists(path):
        return
    if corpus is None and read_predictions(path).compared.any():
        raise ArtifactError(
            f"{path} marks examples that share text with the pretraining corpus, and none was "
            "named; name it with --corpus, or remove the file."
        )
