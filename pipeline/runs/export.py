"""A run's network and vocabulary as a directory that Transformers loads.

    AutoModelForSeq2SeqLM.from_pretrained(DIR), AutoTokenizer.from_pretrained(DIR)

The weights are written in float32 as `model.safetensors`, bit for bit those of the checkpoint, but
for the two tables of position biases where a run has `model.distance_slope`: the slope is added to
them. From 5 GB on they are several such files with an index, of which a host holds one at a time.
The SentencePiece model is written as `spiece.model`, byte for byte, and as `tokenizer.json`. Gated
experts need code that Transformers does not have. The folder then holds it, `modeling_mswitch.py`,
and the model is loaded with `trust_remote_code=True`. A network that has no form there (several
experts per token) is refused before anything is written. A card for a hub lies beside them.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from data.files.atomic import atomic_write, write_bytes, write_text
from data.files.digests import digest_of_contents
from data.files.json_files import write_json
from data.files.paths import Place, read_bytes
from data.tokens.tokenizer import MODEL_FILE, Tokenizer, load, sentinel_pieces, tokenizer_json
from model.hugging_face.config import MODELING, export_config
from model.hugging_face.weights import (
    INDEX,
    WEIGHTS,
    exported_arrays,
    exported_shapes,
    weight_files,
    weight_index,
)
from model.trainer import Trainer
from model.transformer import Transformer, parameter_count
from pipeline.artifacts import Claim
from pipeline.hardware.hosts import held_by_first_host, is_first
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import RECIPE, checkpoint_read, find_run, requested_step
from pipeline.runs.model_card import model_card
from pipeline.runs.opened_run import load_run, restore, wait_until_seen
from pipeline.runs.transformers_files import CONFIG, VOCABULARY
from pipeline.stage import Identity, Intent, Job, bytes_in_words, claimed, finish
from pipeline.terminal import print_end

README = "README.md"
LOADED_WITH_CODE = f"; load it with trust_remote_code=True, which runs {MODELING}.py of that folder"


def exporting(run: Place, out: Place, step: int | None, license_name: str | None) -> Job:
    """Returns the job that exports a checkpoint of a run.

    Args:
        run: directory of the run.
        out: directory for the export.
        step: step of the checkpoint; None for the best or the last.
        license_name: licence that the card declares, or None.

    Raises:
        ArtifactError: if there is no such run or checkpoint.
        ConfigurationError: if Transformers has no form for the network.
    """
    recipe, trainer = load_run(run)
    config = export_config(recipe.model, recipe.inputs, recipe.lengths.targets)
    wait_until_seen(run)
    step = requested_step(run, step)
    parameters = parameter_count(trainer.shapes)
    size = 4 * sum(map(math.prod, exported_shapes(recipe.model).values()))
    declared = {} if license_name is None else {"license": license_name}
    intent = Intent(
        stage="export-hf",
        reads=[checkpoint_read("run", run, step)],
        writes=f"{CONFIG}, {WEIGHTS} of {bytes_in_words(size)}, {VOCABULARY}, tokenizer, {README}",
        out=out,
        identity=Identity(
            {"step": step, **declared},
            {name: digest_of_contents(run / name) for name in (RECIPE, MODEL_FILE)},
        ),
        work=f"step {step:,} as {config['architectures'][0]}, {parameters:,} parameters",
    )
    files = partial(files_beside, run, recipe, step, config, license_name)
    return Job(lambda: intent, partial(export, intent, run, out, trainer, step, files))


def export(
    intent: Intent,
    run: Place,
    out: Place,
    trainer: Trainer,
    step: int,
    files: Callable[[], dict[str, Any]],
) -> None:
    """Writes an export from all hosts; the first one writes the files.

    Args:
        intent: what the directory is claimed for.
        run: directory of the run.
        out: directory of the export.
        trainer: functions of the run.
        step: step of the checkpoint.
        files: returns what lies beside the weights.
    """
    with held_by_first_host(lambda: claimed(intent)) as there:
        if there == Claim.FINISHED:  # of other hosts the word
            return
        arrays, _ = restore(run, trainer, step)
        beside = files() if is_first() else {}
        for name, content in beside.items():
            write_as(out / name, content)
        network = trainer.model(arrays)
        weights = write_weights(out, network)
        if is_first():
            digests = {name: digest_of_contents(out / name) for name in beside}
            count = len(exported_shapes(network.config))
            finish(intent, {"arrays": count, "files": {**digests, **weights}})
            announce(out, step, beside[CONFIG], count, weights)


def announce(
    out: Place, step: int, config: Mapping[str, Any], arrays: int, weights: Mapping[str, str]
) -> None:
    """Prints what was exported."""
    kind = config["architectures"][0]
    several = f" of {len(weights) - 1} files" if INDEX in weights else ""
    print_end(
        "export-hf",
        f"step {step} as {kind}, {arrays} arrays{several}, in {out}"
        + (LOADED_WITH_CODE if modeling_code(config) else ""),
        following=("inspect", out),
    )


def files_beside(
    run: Place, recipe: Recipe, step: int, config: dict[str, Any], license_name: str | None
) -> dict[str, Any]:
    """Returns the contents of all files beside the weights, by name."""
    model = read_bytes(run / MODEL_FILE)
    files = {
        CONFIG: config,
        "generation_config.json": generation_config(),
        VOCABULARY: model,
        "tokenizer.json": tokenizer_json(model),
        "tokenizer_config.json": tokenizer_config(load(run / MODEL_FILE), recipe),
        README: model_card(run, find_run(run), step, config, license_name),
    }
    if code := modeling_code(config):
        files[f"{MODELING}.py"] = code
    return files


def write_as(path: Place, content: Any) -> None:
    """Writes text or bytes as they are, and anything else as JSON."""
    if isinstance(content, bytes):
        write_bytes(path, content)
    elif isinstance(content, str):
        write_text(path, content)
    else:
        write_json(path, content)


def write_weights(out: Place, network: Transformer) -> dict[str, str]:
    """Writes the weights, one file after the other; every host must call this.

    Returns:
        The checksum of each file by its name, on the first host.
    """
    shapes = exported_shapes(network.config)
    files = weight_files(shapes)
    digests = {
        file: write_file(out / file, exported_arrays(network, names))
        for file, names in files.items()
    }
    if not is_first() or len(files) == 1:
        return digests
    write_json(out / INDEX, weight_index(files, shapes))
    return {**digests, INDEX: digest_of_contents(out / INDEX)}


def write_file(path: Place, arrays: Iterator[tuple[str, np.ndarray]]) -> str:
    """Writes one file of weights from the first host; returns its checksum there."""
    if not is_first():
        deque(arrays, maxlen=0)  # takes part in gathering, and keeps nothing
        return ""
    with atomic_write(path) as unfinished:
        save_file(dict(arrays), unfinished, metadata={"format": "pt"})
        unfinished.chmod(0o644)  # as the other files; the library sets 600
        return digest_of_contents(unfinished)


def modeling_code(config: Mapping[str, Any]) -> str:
    """Returns the code that a config refers to; empty where Transformers has its own."""
    if "auto_map" not in config:
        return ""
    return (resources.files("model.hugging_face") / f"{MODELING}.py").read_text(encoding="utf-8")


def tokenizer_config(tokenizer: Tokenizer, recipe: Recipe) -> dict[str, Any]:
    """Returns the settings of a tokenizer that Transformers reads."""
    pieces = tokenizer.processor
    return {
        # This class loads tokenizer.json unchanged; T5Tokenizer would rebuild it without bytes.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": recipe.inputs,
        "pad_token": pieces.IdToPiece(0),
        "eos_token": pieces.IdToPiece(1),
        "unk_token": pieces.IdToPiece(2),
        "additional_special_tokens": sentinel_pieces()[::-1],
    }


def generation_config() -> dict[str, int]:
    """Returns the ids with which `generate` starts, pads and ends."""
    return {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
