"""Compares answers to SIB-200's test sentences with those of Transformers on PyTorch.

    python parity/hugging_face_predictions.py --run RUN --data DIRECTORY

The run is exported and loaded by `from_pretrained`. For each test sentence (19,584 in 96 languages)
ours are what `mswitch finetune` and `mswitch evaluate` predict: nats of the seven labels, and a
text that is written greedily. The most likely label and the text must be the same for every
sentence, and the nats within 1e-3. Exits with 1 otherwise.

Without a run it compares an mT5 and a Switch with gated experts with random weights on two
sentences per language, or where ../shared/data/tasks/sib200 is not beside the checkout, on
sentences of shuffled words. Our answers drop no token, and theirs must not either: the exported
capacity, which is that of evaluation, is raised to the length of the input.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from hugging_face_files import SENTENCE, theirs_on_disk, vocabulary_model
from material import hugging_face_cases as cases

from data.examples.task_examples import cut_ids, padded_rows
from data.tasks.description import Task, find_task
from data.tasks.examples import TaskExample, read_task
from data.tokens.tokenizer import EOS, MODEL_FILE, Tokenizer, load
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.import_hf import ImportHf
from pipeline.runs.opened_run import load_run, restore
from pipeline.training.tasks.predictor import ExampleAnswers, Predictor

DATA = Path(__file__).parents[1].parent / "shared/data/tasks/sib200"
CASES = ("mt5", "gated-switch")
ROWS, WRITTEN = 64, 8
SENTENCES = 2  # per language, for random weights
TOLERANCE = 1e-3  # nats of a label, of which those of several tokens are tens


def sentences(data: Path, most: int | None) -> tuple[Task, list[TaskExample]]:
    """Returns the task and test examples, at most this many per language."""
    if not data.is_dir():
        random, words = np.random.default_rng(0), SENTENCE.split()
        texts = [" ".join(random.permutation(words)) for _ in range(2 * ROWS)]
        examples = [TaskExample("de", "", text, "", (), (text,)) for text in texts]
        return find_task(f"sib200={data}")[0], examples
    task, *_ = read = read_task(f"sib200={data}")
    by_language: dict[str, list[TaskExample]] = {}
    for example in read.test:
        by_language.setdefault(example.language, []).append(example)
    return task, [one for examples in by_language.values() for one in examples[:most]]


def ours(
    run: Path, step: int | None, task: Task, examples: list[TaskExample]
) -> tuple[ExampleAnswers, np.ndarray, np.ndarray]:
    """Returns the answers of a run, and the ids of inputs and labels that it reads."""
    recipe, trainer = load_run(run)
    arrays, _ = restore(run, trainer, step)
    tokenizer, length = load(run / MODEL_FILE), recipe.lengths.inputs
    predictor = Predictor(
        trainer,
        tokenizer,
        task,
        rows=ROWS,
        inputs=length,
        targets=WRITTEN,
        logits_bytes=recipe.logits_bytes,
    )
    answers = predictor.answers(arrays, examples, lambda: False, with_text=True)
    assert answers is not None  # nothing stops it
    ids, _ = cut_ids([example.input for example in examples], tokenizer, length)
    return answers, padded_rows(ids, length), predictor.labels


def theirs(
    directory: Path, tokenizer: Tokenizer, inputs: np.ndarray, labels: np.ndarray
) -> ExampleAnswers:
    """Returns the answers of an exported run in Transformers."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory, trust_remote_code=True)
    for module in model.modules():
        if hasattr(module, "expert_capacity"):
            module.expert_capacity = inputs.shape[1]
    beyond = range(tokenizer.size, model.config.vocab_size)
    model.generation_config.suppress_tokens = list(beyond) or None
    batches = [inputs[first : first + ROWS] for first in range(0, len(inputs), ROWS)]
    nats, written = zip(*(of_batch(model.eval(), one, labels) for one in batches), strict=True)
    texts = [tokenizer.decode(row[row != 0]) for rows in written for row in rows]
    return ExampleAnswers(texts, np.concatenate(nats))


@torch.no_grad()
def of_batch(model: Any, batch: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns their nats of each label, and the ids that they write."""
    ids, targets = (torch.from_numpy(part.astype(np.int64)) for part in (batch, labels))
    mask = (ids != 0).long()
    source = model.get_encoder()(input_ids=ids, attention_mask=mask)
    nats = [of_label(model, source, mask, target[target != 0]) for target in targets]
    written = model.generate(
        encoder_outputs=source,
        attention_mask=mask,
        max_new_tokens=WRITTEN,
        do_sample=False,
        num_beams=1,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=EOS,
    )[:, 1:]
    return torch.stack(nats, dim=1).numpy(), written.numpy()


def of_label(model: Any, source: Any, mask: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Returns their nats of one label for each row."""
    targets = label.expand(len(mask), -1)
    logits = model(
        encoder_outputs=source,
        attention_mask=mask,
        decoder_input_ids=torch.nn.functional.pad(targets[:, :-1], (1, 0)),
    ).logits
    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0].sum(1)


def compare(
    run: Path, step: int | None, task: Task, examples: list[TaskExample], folder: Path
) -> bool:
    """Prints how many answers of a run are the same in Transformers; returns whether all are."""
    directory = folder / f"{run.name}-exported"
    ExportHf(run=run, out=directory, step=step).execute()
    found, inputs, labels = ours(run, step, task, examples)
    expected = theirs(directory, load(run / MODEL_FILE), inputs, labels)
    chosen = expected.label_nats.argmin(axis=1)
    same_label = int((found.label_nats.argmin(axis=1) == chosen).sum())
    same_text = sum(one == other for one, other in zip(found.texts, expected.texts, strict=True))
    apart = np.abs(found.label_nats - expected.label_nats).max()
    print(
        f"{run.name}: of {len(examples)} sentences {same_label} have the same label "
        f"({len(np.unique(chosen))} different ones) and {same_text} the same text "
        f"({len(set(found.texts))} different ones); nats differ by at most {apart:.1e}",
        flush=True,
    )
    return bool(same_label == same_text == len(examples) and apart < TOLERANCE)


def random_runs(folder: Path) -> Iterator[Path]:
    """Yields runs with random weights."""
    model = vocabulary_model()
    for case in CASES:
        theirs_on_disk(case, folder / f"{case}-theirs", model)
        run = folder / case
        ImportHf(directory=folder / f"{case}-theirs", out=run, inputs=cases.SOURCE).execute()
        yield run


def main() -> None:
    """Compares a run, or runs with random weights; exits with 1 if an answer differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--step", type=int, help="the best or last checkpoint unless given")
    parser.add_argument("--data", type=Path, default=DATA, help="SIB-200, a file per language")
    parser.add_argument("--sentences", type=int, help="sentences per language; all unless given")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = random_runs(folder) if given.run is None else [given.run]
        most = given.sentences or (SENTENCES if given.run is None else None)
        task, examples = sentences(given.data, most)
        equal = [compare(run, given.step, task, examples, folder) for run in runs]
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
