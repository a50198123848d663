"""`mswitch import-hf`: a Transformers T5, mT5 or Switch model becomes a run at step 0.

Reads `config.json`, `*.safetensors` (bfloat16 and float16 become float32) and `spiece.model`. If
the vocabulary has no sentinels, as T5's own, they are appended at the ids that T5 gives them; those
that are ordinary pieces become control pieces. The run works with `mswitch fill`, with `mswitch
evaluate` on tokens of its vocabulary, with `mswitch export-hf` (bit for bit) and with `mswitch
pretrain --start`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from data.examples.span_corruption import LEAST_INPUTS, MOST_INPUTS, lengths_for_inputs
from data.files.atomic import write_bytes
from data.files.digests import digest_of_contents
from data.files.json_files import read_json
from data.files.paths import open_file
from data.tokens.tokenizer import MODEL_FILE, Tokenizer
from model.hugging_face.config import TheirConfig, import_config
from model.hugging_face.weights import checked_state, compared_arrays, import_state
from model.memory import checkpoint_bytes
from model.transformer import parameter_count, transformer_shapes
from pipeline.arguments import ImportHf
from pipeline.errors import LONGEST, ArtifactError, first_line
from pipeline.recipe.recipe import Recipe, recipe_to_json
from pipeline.runs.checkpoints import explain_save_errors
from pipeline.runs.opened_run import trainer_here
from pipeline.runs.transformers_files import CONFIG, VOCABULARY, weight_files
from pipeline.stage import Identity, Intent, Outcome, bytes_in_words, files_of, run_stage
from pipeline.tokens.vocabulary import with_sentinels
from pipeline.training.description import describe_run
from pipeline.training.origins import write_first_checkpoint


class ImportRequest(NamedTuple):
    """An import whose arguments passed all checks.

    Attributes:
        weights: safetensors files.
        recipe: recipe of the run.
        inputs: digest of each file, by name.
        intent: what the import would do.
    """

    weights: list[Path]
    recipe: Recipe
    inputs: dict[str, str]
    intent: Intent


def checked_request(arguments: ImportHf) -> ImportRequest:
    """Returns the import that the arguments name.

    Raises:
        ArtifactError: if the directory holds no such model, or its files do not fit together.
        ConfigurationError: if its config has no form here, or the weights belong to another.
        DataError: if config.json or the vocabulary is damaged.
    """
    weights = weight_files(arguments.directory)
    recipe = imported_recipe(arguments)
    check_weights(weights, recipe)
    check_vocabulary(arguments.directory / VOCABULARY, recipe)
    files = [arguments.directory / CONFIG, arguments.directory / VOCABULARY, *weights]
    inputs = {path.name: digest_of_contents(path) for path in files}
    size = bytes_in_words(checkpoint_bytes(recipe.model, recipe.optimizer))
    intent = Intent(
        stage="import-hf",
        reads=[files_of("model", arguments.directory, files)],
        writes=f"recipe.json, {MODEL_FILE} and a checkpoint of {size}",
        out=arguments.out,
        identity=Identity({"rows": arguments.rows, "inputs": arguments.inputs}, inputs),
        work=f"{parameter_count(transformer_shapes(recipe.model)):,} parameters",
    )
    return ImportRequest(weights, recipe, inputs, intent)


def intents(arguments: ImportHf) -> list[Intent]:
    """Returns the command's intent."""
    return [checked_request(arguments).intent]


def run(arguments: ImportHf) -> None:
    """Writes the run; does nothing if it is finished."""
    request = checked_request(arguments)
    run_stage(request.intent, partial(import_model, arguments, request))


def import_model(arguments: ImportHf, request: ImportRequest) -> Outcome:
    """Writes the vocabulary, the first checkpoint and the files that describe the run."""
    out, recipe = arguments.out, request.recipe
    with explain_save_errors(out):
        write_bytes(out / MODEL_FILE, with_sentinels(arguments.directory / VOCABULARY))
        model = import_state(recipe.model, read_weights(request.weights))
        trainer = trainer_here(recipe)
        arrays = jax.device_put(model, trainer.shardings.arrays)
        write_first_checkpoint(out, lambda: trainer.begin_with(arrays))
        describe_run(out, recipe, trainer, request.inputs)
    return Outcome(
        {"steps": 0, "recipe": recipe_to_json(recipe)},
        f"{parameter_count(model):,} parameters in {out}",
        following=("evaluate", "--run", out, "--tokens", "tokens"),
    )


def imported_recipe(arguments: ImportHf) -> Recipe:
    """Returns the run's recipe: the network of config.json, the batch of the arguments.

    Raises:
        ArtifactError: if the directory has no config.json, or no window fits the inputs.
    """
    path = arguments.directory / CONFIG
    if not path.exists():
        raise ArtifactError(
            f"A Transformers model was expected in {arguments.directory}, which holds no {CONFIG}; "
            "name a directory that save_pretrained wrote."
        )
    if not LEAST_INPUTS <= arguments.inputs <= MOST_INPUTS:
        raise ArtifactError(
            f"--inputs was {arguments.inputs:,}; give {LEAST_INPUTS} to {MOST_INPUTS:,}, in which "
            "spans can be hidden."
        )
    lengths = lengths_for_inputs(arguments.inputs)
    return Recipe(
        name=arguments.out.name,
        model=import_config(read_json(path, TheirConfig), lengths.inputs, lengths.targets),
        rows=arguments.rows,
        inputs=arguments.inputs,
        steps=1,
    )


def read_weights(paths: list[Path]) -> dict[str, np.ndarray]:
    """Returns all arrays in float32.

    Raises:
        ArtifactError: if a file is damaged, or holds arrays of a type that is none of NumPy's.
    """
    return dict(arrays_in(paths))


def check_weights(paths: list[Path], recipe: Recipe) -> None:
    """Checks names and shapes of all arrays by the headers, then the arrays, most one by one.

    A file may claim any size and be sparse, so none is read that the config does not ask for.

    Raises:
        ArtifactError: if a file is damaged, or holds arrays of a type that is none of NumPy's.
        ConfigurationError: if an array is missing, unknown, or of a shape that the config excludes.
    """
    checked_state(recipe.model, dict(shapes_in(paths)))
    whole = compared_arrays(recipe.model)
    state: dict[str, Any] = {
        name: array if name in whole else jax.ShapeDtypeStruct(array.shape, array.dtype)
        for name, array in arrays_in(paths)
    }
    checked_state(recipe.model, state)


def shapes_in(paths: list[Path]) -> Iterator[tuple[str, jax.ShapeDtypeStruct]]:
    """Yields the shape of each array by its name, from the headers alone.

    Raises:
        ArtifactError: if a file is damaged.
        DataError: if one is a pipe or a device.
    """
    for path in paths:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118  it cannot be iterated
                shape = tuple(file.get_slice(name).get_shape())
                yield name, jax.ShapeDtypeStruct(shape, np.float32)


def arrays_in(paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each array by its name, in float32.

    Raises:
        ArtifactError: if a file is damaged, holds arrays of a type that is none of NumPy's, or
            weights that are not finite.
        DataError: if one is a pipe or a device.
    """
    for path in paths:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118  it cannot be iterated
                yield name, _finite(file.get_tensor(name), name)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens a file of weights; what is wrong with it is one sentence."""
    open_file(path).close()
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{path} cannot be read as safetensors ({first_line(error)[:LONGEST]}); fetch or "
            "save it again."
        ) from error


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    """Returns an array in float32.

    Raises:
        ValueError: if a weight is infinite or not a number.
    """
    with np.errstate(over="ignore"):  # of float64
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds weights that are infinite or not numbers")
    return array


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
