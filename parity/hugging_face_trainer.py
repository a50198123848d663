"""Measures the CPU-seconds of a step of fine-tuning beside Transformers' `Seq2SeqTrainer`.

Both take turns on the networks of the multilingual experiment, with Adafactor, dropout 0.1 and rows
as long as SIB-200's, on one core, because CPU-seconds of several threads include their waiting for
one another. Their rows are padded to the longest of a batch, ours to one length. A group of
Switch's is a sequence, with as many expert slots. Target: at most 0.9 of theirs.
"""

import os

CORE = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {CORE})  # JAX and PyTorch then start no more threads

import functools
import tempfile
import time
from dataclasses import replace
from statistics import median
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
import transformers
from hugging_face_finetuning import adafactor, trainer_of
from material import hugging_face_cases as cases

from model.batch import Batch
from model.config import ModelConfig
from model.hugging_face.config import export_config
from model.hugging_face.modeling_mswitch import MSwitchConfig, MSwitchForConditionalGeneration
from pipeline.recipe import named

NAMES = ("mt5-multilingual", "switch-multilingual")
TURNS, WARM = 9, 2
TARGETS, DROPOUT = 8, 0.1
SHORTEST = 24  # input tokens of a row; the longest fill it


class Turns(transformers.TrainerCallback):
    """Measures a step of theirs, with its batch, and then one of ours."""

    def __init__(self, config: ModelConfig, batches: list[cases.Rows]):
        self.trainer, self.batches = trainer_of(config, DROPOUT), iter(batches)
        self.state = self.trainer.init()
        self.theirs: list[float] = []
        self.ours: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clock."""
        self.since = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stops the clock, and lets ours take its turn."""
        self.theirs.append(time.process_time() - self.since)
        start = time.process_time()
        rows = next(self.batches)
        batch = Batch(*(jnp.asarray(part) for part in rows), jnp.zeros(len(rows[0]), jnp.int32))
        self.state, metrics = self.trainer.step(self.state, batch)
        assert np.isfinite(metrics.losses.loss_nats)
        self.ours.append(time.process_time() - start)
        self.since = time.process_time()


def random_rows(rows: int, inputs: int, vocabulary: int, seed: int) -> cases.Rows:
    """Returns rows of various lengths."""
    random = np.random.default_rng(seed)
    parts = []
    for length, shortest in ((inputs, SHORTEST), (TARGETS, 3)):
        ids = random.integers(3, vocabulary, (rows, length)).astype(np.int32)
        ends = random.integers(shortest, length, (rows, 1), endpoint=True)
        parts.append(np.where(np.arange(length) < ends, ids, 0))
    return cases.Rows(*parts)


def their_network(config: ModelConfig, inputs: int) -> Any:
    """Their network of our shape, with random weights."""
    settings = export_config(config, inputs, TARGETS) | {"dropout_rate": DROPOUT}
    for field in ("architectures", "model_type", "auto_map"):
        settings.pop(field, None)
    if config.switch is None:
        return transformers.MT5ForConditionalGeneration(transformers.MT5Config(**settings))
    return MSwitchForConditionalGeneration(MSwitchConfig(**settings))


def measure(name: str) -> None:
    """Prints the CPU-seconds per step of both, and their ratio."""
    recipe = named.get(name)
    config, inputs = recipe.model, recipe.inputs
    if config.switch is not None:  # a group is a sequence, as in Transformers
        groups = {"encoder_group_tokens": inputs, "decoder_group_tokens": TARGETS}
        factor = {"capacity_factor_evaluation": config.switch.capacity_factor_training}
        pools = {"encoder_pooled_groups": 1, "decoder_pooled_groups": 1}
        switch = replace(config.switch, expert_dropout=DROPOUT, **groups, **factor, **pools)
        config = replace(config, switch=switch)
    drawn = functools.partial(random_rows, recipe.rows, inputs, config.vocabulary_rows)
    batches = [drawn(seed) for seed in range(TURNS + WARM)]
    turns = Turns(config, batches)
    network = their_network(config, inputs)
    examples = [
        {
            "input_ids": ids[ids != 0].tolist(),
            "labels": target[target != 0].tolist(),
        }
        for rows in batches
        for ids, target in zip(*rows, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trained_by_theirs(network, examples, recipe.rows, turns, folder)
    mine, theirs = median(turns.ours[WARM:]), median(turns.theirs[WARM:])
    print(
        f"{name}, {recipe.rows} rows of {inputs} and {TARGETS} tokens: {mine:.3f} CPU-seconds per "
        f"step, Seq2SeqTrainer {theirs:.3f}, ratio {mine / theirs:.2f}",
        flush=True,
    )


def trained_by_theirs(
    network: Any, examples: list[Any], rows: int, turns: Turns, folder: str
) -> None:
    """Runs their trainer for as many steps as there are batches."""
    optimizer = adafactor(network)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)

    def padded(some: list[Any]) -> dict[str, torch.Tensor]:
        """Rows as long as the longest, as their collator pads them."""

        def tensor(field: str, fill: int) -> torch.Tensor:
            ids = [torch.tensor(one[field]) for one in some]
            return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=fill)

        inputs = tensor("input_ids", 0)
        return {
            "input_ids": inputs,
            "attention_mask": (inputs != 0).long(),
            "labels": tensor("labels", -100),
        }

    arguments = transformers.Seq2SeqTrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=rows,
        max_steps=len(examples) // rows,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        max_grad_norm=0.0,
    )
    trainer = transformers.Seq2SeqTrainer(
        model=network,
        args=arguments,
        train_dataset=examples,
        data_collator=padded,
        optimizers=(optimizer, constant),
        callbacks=[turns],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def main() -> None:
    """Measures both networks."""
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    for name in NAMES:
        measure(name)


if __name__ == "__main__":
    main()
