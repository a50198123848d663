"""`mswitch export-hf`: a run's network and vocabulary as a directory that Transformers loads.

    AutoModelForSeq2SeqLM.from_pretrained(DIR), AutoTokenizer.from_pretrained(DIR)

The weights are written in float32 as `model.safetensors`, bit for bit those of the checkpoint, but
for the two tables of position biases where a run has `model.distance_slope`: the slope is added to
them. From 5 GB on they are several such files with an index, of which a host holds one at a time.
The SentencePiece model is written as `spiece.model`, byte for byte, and as `tokenizer.json`. Gated
experts need code that Transformers does not have. The folder then holds it, `modeling_mswitch.py`,
and the model is loaded with `trust_remote_code=True`. A network that has no form there (several
experts per token) is refused before anything is written.

A card for a hub lies beside them: recipe, data and results per language. Its header has the fields
of https://huggingface.co/docs/hub/model-cards. Results are those of the run's own evaluation at the
exported step; the card of a run that was not evaluated there has none and states so.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import yaml
from safetensors.numpy import save_file

from data.files.atomic import atomic_write, write_bytes, write_text
from data.files.digests import digest_of_contents
from data.files.json_files import read_json, write_json
from data.files.parquet_files import read_table
from data.files.paths import Place, exists, read_bytes
from data.languages import iso639_3_codes
from data.tokens.tokenizer import MODEL_FILE, Tokenizer, load, sentinel_pieces, tokenizer_json
from eval import losses
from eval.losses import LanguageLosses, Unit
from eval.report.markdown import bullets, escape, heading, table
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
from pipeline.arguments import ExportHf
from pipeline.artifacts import Claim, code_version
from pipeline.corpus.card import check_license
from pipeline.first_checks import CONFIG, VOCABULARY
from pipeline.hardware.hosts import held_by_first_host, is_first, joined_hosts
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import (
    MixtureRecord,
    RunRecord,
    checkpoint_read,
    find_run,
    recorded_changes,
    requested_step,
)
from pipeline.runs.finished import evaluated_steps
from pipeline.runs.opened_run import load_run, restore, wait_until_seen
from pipeline.stage import Identity, Intent, bytes_in_words, claimed, finish
from pipeline.terminal import print_end

UNDECLARED = "unknown"
MODEL_FIELDS = ("embed", "mlp", "heads", "head", "layers", "feed_forward", "vocabulary_rows")
TRAINING_FIELDS = ("steps", "rows", "inputs", "mixture", "mixture_from", "seed")


def model_card(
    run: Place, about: RunRecord, step: int, config: Mapping[str, Any], license_name: str | None
) -> str:
    """Returns the text of README.md.

    Args:
        run: directory of the run.
        about: its recipe.json.
        step: exported step.
        config: config.json of the export.
        license_name: licence that the publisher declares, or None.
    """
    losses = losses_at(run, step)
    path = run / "mixture.json"
    seen = list(read_json(path, MixtureRecord).languages) if exists(path) else []
    made_for = about.trimmed or about.pruned
    languages = list(made_for.languages) if made_for else seen
    header = yaml.safe_dump(
        header_of(languages, config, license_name or UNDECLARED), sort_keys=False
    )
    parts = [
        f"---\n{header}---\n",
        heading(about.recipe["name"]) + "\n",
        escape(" ".join(description(about, step, config))) + "\n",
        loading(config) + "\n",
        "## Recipe\n",
        table(("field", "value"), recipe_rows(about)) + "\n",
        *changes_in_words(run),
        "## Data\n",
        table(("input", "digest (SHA-256)"), about.inputs.items()) + "\n",
        "## Results\n",
        results(losses, step) + "\n",
    ]
    return "\n".join(parts)


def header_of(
    languages: list[str], config: Mapping[str, Any], license_name: str
) -> Mapping[str, Any]:
    """Returns the fields of the card's header; a fine-tuned run's languages are `TASK/LANGUAGE`."""
    codes = iso639_3_codes(name.rpartition("/")[2] for name in languages)
    return {
        **({"language": codes} if codes else {}),
        "license": license_name,
        "library_name": "transformers",
        "tags": [*dict.fromkeys(["mswitch", config["model_type"], "span-corruption"])],
    }


def description(about: RunRecord, step: int, config: Mapping[str, Any]) -> Iterator[str]:
    """Yields the sentences that describe the model."""
    switch = about.recipe["model"]["switch"]
    kind = "A dense encoder-decoder"
    if switch is not None:
        kind = f"A Switch Transformer with {switch['experts']} experts per switch layer"
    size = "" if about.parameters is None else f" of {about.parameters:,} parameters"
    yield f"{kind}{size} after {step:,} steps, made with mswitch {code_version()}."
    if about.pruned is not None:
        languages = ", ".join(about.pruned.languages)
        yield f"It was pruned from {about.pruned.experts} experts per switch layer for {languages}."
    if about.trimmed is not None:
        yield f"Its vocabulary was trimmed to {', '.join(about.trimmed.languages)}."
    if about.recipe.get("finetuning"):
        yield f"It is fine-tuned on {', '.join(about.recipe['finetuning']['tasks'])}."
    yield f"Its class is {config['architectures'][0]}."


def loading(config: Mapping[str, Any]) -> str:
    """Returns the lines that load and publish the model."""
    trust = ", trust_remote_code=True" if "auto_map" in config else ""
    return (
        "```python\nfrom transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n\n"
        f'model = AutoModelForSeq2SeqLM.from_pretrained("DIRECTORY"{trust})\n'
        f'tokenizer = AutoTokenizer.from_pretrained("DIRECTORY"{trust})\n```\n\n'
        "```sh\nhf upload OWNER/NAME DIRECTORY\n```"
    )


def recipe_rows(about: RunRecord) -> Iterator[tuple[str, str]]:
    """Yields the settings that describe the network and its training."""
    recipe = about.recipe
    for name in MODEL_FIELDS:
        if name in recipe["model"]:
            yield f"model.{name}", str(recipe["model"][name])
    for name, value in (recipe["model"]["switch"] or {}).items():
        yield f"model.switch.{name}", str(value)
    for name in TRAINING_FIELDS:
        if name in recipe:
            yield name, str(recipe[name])
    for commit in about.commits:
        yield "commit", commit


def changes_in_words(run: Place) -> Iterator[str]:
    """Yields the paragraph on what was changed while the model was trained, if anything was."""
    if lines := [str(change) for change in recorded_changes(run)]:
        yield f"Changed while it was trained:\n\n{bullets(lines)}\n"


def losses_at(run: Place, step: int) -> LanguageLosses | None:
    """Returns the held-out losses per language at a step; None if there was no evaluation."""
    path = evaluated_steps(run).get(step)
    if path is None:
        return None
    pages = losses.from_table(read_table(path, losses.SCHEMA), str(path))
    return losses.by_language(pages)


def results(losses: LanguageLosses | None, step: int) -> str:
    """Returns the table of held-out losses."""
    if losses is None:
        return f"The run has no evaluation at step {step:,}."
    names = ("language", "held-out pages", "nats per target token", "bits per byte of hidden text")
    nats, bits = (losses.losses(unit) for unit in (Unit.NATS_PER_TOKEN, Unit.BITS_PER_BYTE))
    rows = zip(losses.languages, losses.pages, nats, bits, strict=True)
    return table(names, ((c, f"{p:,}", f"{n:.4f}", f"{b:.4f}") for c, p, n, b in rows))


README = "README.md"
LOADED_WITH_CODE = f"; load it with trust_remote_code=True, which runs {MODELING}.py of that folder"


class ExportRequest(NamedTuple):
    """An export whose arguments passed all checks.

    Attributes:
        recipe: recipe of the run.
        trainer: its functions.
        step: step of the checkpoint.
        config: config.json to write.
        intent: what the export would do.
    """

    recipe: Recipe
    trainer: Trainer
    step: int
    config: dict[str, Any]
    intent: Intent


def checked_request(arguments: ExportHf) -> ExportRequest:
    """Returns the export that the arguments name.

    Raises:
        ArtifactError: if there is no such run or checkpoint.
        ConfigurationError: if Transformers has no form for the network.
    """
    check_license(arguments.license)
    recipe, trainer = load_run(arguments.run)
    config = export_config(recipe.model, recipe.inputs, recipe.lengths.targets)
    wait_until_seen(arguments.run)
    step = requested_step(arguments.run, arguments.step)
    inputs = {
        name: digest_of_contents(arguments.run / name) for name in ("recipe.json", MODEL_FILE)
    }
    parameters = parameter_count(trainer.shapes)
    size = 4 * sum(map(math.prod, exported_shapes(recipe.model).values()))
    intent = Intent(
        stage="export-hf",
        reads=[checkpoint_read("run", arguments.run, step)],
        writes=f"{CONFIG}, {WEIGHTS} of {bytes_in_words(size)}, {VOCABULARY}, tokenizer, {README}",
        out=arguments.out,
        identity=Identity(settings_of(arguments, step), inputs),
        work=f"step {step:,} as {config['architectures'][0]}, {parameters:,} parameters",
    )
    return ExportRequest(recipe, trainer, step, config, intent)


def settings_of(arguments: ExportHf, step: int) -> dict[str, Any]:
    """Returns every setting that changes the export, as JSON values."""
    declared = {} if arguments.license is None else {"license": arguments.license}
    return {"step": step, **declared}


def intents(arguments: ExportHf) -> list[Intent]:
    """Returns the command's intent."""
    with joined_hosts(arguments.hosts, "export-hf"):
        return [checked_request(arguments).intent]


def run(arguments: ExportHf) -> None:
    """Writes the directory; does nothing if it is finished."""
    with joined_hosts(arguments.hosts, "export-hf"):
        export(arguments, checked_request(arguments))


def export(arguments: ExportHf, request: ExportRequest) -> None:
    """Writes the requested export from all hosts; the first one writes the files."""
    with held_by_first_host(lambda: claimed(request.intent)) as there:
        if there == Claim.FINISHED:  # of other hosts the word
            return
        arrays, _ = restore(arguments.run, request.trainer, request.step)
        described = write_description(arguments, request) if is_first() else {}
        network = request.trainer.model(arrays)
        weights = write_weights(arguments.out, network)
        if is_first():
            count = len(exported_shapes(network.config))
            finish(request.intent, {"arrays": count, "files": {**described, **weights}})
            announce(arguments.out, request, count, weights)


def write_description(arguments: ExportHf, request: ExportRequest) -> dict[str, str]:
    """Writes everything but the weights; returns the checksum of each file by its name."""
    out, config, about = arguments.out, request.config, find_run(arguments.run)
    model = read_bytes(arguments.run / MODEL_FILE)
    files = {
        CONFIG: config,
        "generation_config.json": generation_config(),
        VOCABULARY: model,
        "tokenizer.json": tokenizer_json(model),
        "tokenizer_config.json": tokenizer_config(load(arguments.run / MODEL_FILE), request.recipe),
        README: model_card(arguments.run, about, request.step, config, arguments.license),
    }
    if code := modeling_code(config):
        files[f"{MODELING}.py"] = code
    for name, content in files.items():
        write_as(out / name, content)
    return {name: digest_of_contents(out / name) for name in files}


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


def announce(out: Place, request: ExportRequest, arrays: int, weights: Mapping[str, str]) -> None:
    """Prints what was exported."""
    kind = request.config["architectures"][0]
    several = f" of {len(weights) - 1} files" if INDEX in weights else ""
    print_end(
        "export-hf",
        f"step {request.step} as {kind}, {arrays} arrays{several}, in {out}"
        + (LOADED_WITH_CODE if modeling_code(request.config) else ""),
        following=("inspect", out),
    )


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
