"""A Transformers T5, mT5 or Switch becomes a run at step 0.

Reads `config.json`, `*.safetensors` (bfloat16 and float16 become float32) and `spiece.model`. If
the vocabulary has no sentinels, as T5's own, they are appended at the ids that T5 gives them; those
that are ordinary pieces become control pieces. The run works with `mswitch fill`, with `mswitch
evaluate` on tokens of its vocabulary, with `mswitch export-hf` (bit for bit) and with `mswitch
pretrain --start`.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.examples.span_corruption import lengths_for_inputs
from data.files.atomic import write_bytes
from data.files.digests import digest_of_contents
from data.files.json_files import read_json
from data.files.paths import Place
from data.tokens.tokenizer import MODEL_FILE, Tokenizer
from model.hugging_face.config import TheirConfig, import_config
from model.hugging_face.weights import checked_state, compared_arrays, import_state
from model.memory import checkpoint_bytes
from model.transformer import parameter_count, transformer_shapes
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe, recipe_to_json
from pipeline.runs.checkpoints import explain_save_errors, write_first_checkpoint
from pipeline.runs.opened_run import trainer_here
from pipeline.runs.transformers_files import (
    CONFIG,
    VOCABULARY,
    arrays_in,
    shapes_in,
    weight_files,
)
from pipeline.runs.uses import tokens_of_its_own
from pipeline.stage import Identity, Intent, Job, Outcome, bytes_in_words, files_of, staged_job
from pipeline.tokens.vocabulary import with_sentinels
from pipeline.training.description import describe_run


def importing(directory: Path, out: Place, inputs: int, rows: int) -> Job:
    """Returns the job that imports a model.

    Args:
        directory: directory of the Transformers model.
        out: directory of the run.
        inputs: input tokens per row.
        rows: rows per batch.

    Raises:
        ArtifactError: if the directory holds no such model, or its files do not fit together.
        ConfigurationError: if its config has no form here, or the weights belong to another.
        DataError: if config.json or the vocabulary is damaged.
    """
    weights = weight_files(directory)
    recipe = imported_recipe(directory / CONFIG, out.name, inputs, rows)
    check_weights(weights, recipe)
    vocabulary = directory / VOCABULARY
    check_vocabulary(vocabulary, recipe)
    files = [directory / CONFIG, vocabulary, *weights]
    digests = {path.name: digest_of_contents(path) for path in files}
    size = bytes_in_words(checkpoint_bytes(recipe.model, recipe.optimizer))
    intent = Intent(
        stage="import-hf",
        reads=[files_of("model", directory, files)],
        writes=f"recipe.json, {MODEL_FILE} and a checkpoint of {size}",
        out=out,
        identity=Identity({"rows": rows, "inputs": inputs}, digests),
        work=f"{parameter_count(transformer_shapes(recipe.model)):,} parameters",
    )
    return staged_job(intent, partial(import_model, out, recipe, vocabulary, weights, digests))


def import_model(
    out: Place, recipe: Recipe, vocabulary: Path, weights: list[Path], digests: Mapping[str, str]
) -> Outcome:
    """Writes the vocabulary, the first checkpoint and the files that describe the run.

    Args:
        out: directory of the run.
        recipe: its recipe.
        vocabulary: their SentencePiece model.
        weights: safetensors files.
        digests: digest of each file that is imported, by name.
    """
    with explain_save_errors(out):
        write_bytes(out / MODEL_FILE, with_sentinels(vocabulary))
        model = import_state(recipe.model, dict(arrays_in(weights)))
        trainer = trainer_here(recipe)
        arrays = jax.device_put(model, trainer.shardings.arrays)
        write_first_checkpoint(out, lambda: trainer.begin_with(arrays))
        describe_run(out, recipe, trainer, digests)
    return Outcome(
        {"steps": 0, "recipe": recipe_to_json(recipe)},
        f"{parameter_count(model):,} parameters in {out}",
        following=tokens_of_its_own(out),
    )


def imported_recipe(config: Path, name: str, inputs: int, rows: int) -> Recipe:
    """Returns the run's recipe: the network of a config.json, and a batch."""
    lengths = lengths_for_inputs(inputs)
    model = import_config(read_json(config, TheirConfig), lengths.inputs, lengths.targets)
    return Recipe(name=name, model=model, rows=rows, inputs=inputs, steps=1)


def check_weights(paths: list[Path], recipe: Recipe) -> None:
    """Checks names and shapes of all arrays by the headers, then the arrays, most one by one.

    A file may claim any size and be sparse, so none is read that the config does not ask for.

    Raises:
        ArtifactError: if a file is damaged, or holds arrays of a type that is none of NumPy's.
        ConfigurationError: if an array is missing, unknown, or of a shape that the config excludes.
    """
    checked_state(recipe.model, {name: _shape(shape) for name, shape in shapes_in(paths)})
    whole = compared_arrays(recipe.model)
    state: dict[str, Any] = {
        name: array if name in whole else _shape(array.shape) for name, array in arrays_in(paths)
    }
    checked_state(recipe.model, state)


def _shape(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


def check_vocabulary(source: Path, recipe: Recipe) -> None:
    """Checks that the embedding has a row for each id of the vocabulary, sentinels included.

    Raises:
        ArtifactError: if it has fewer.
        DataError: if the vocabulary is damaged.
    """
    size = Tokenizer(with_sentinels(source)).size
    if size > recipe.model.vocabulary_rows:
        raise ArtifactError(
            f"{source} has {size} ids with its sentinels and the embedding has "
            f"{recipe.model.vocabulary_rows} rows; put the model's own {VOCABULARY} there."
        )
