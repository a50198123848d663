"""The card of an exported model, `README.md` as a hub shows it: recipe, data, results per language.

Its header has the fields of https://huggingface.co/docs/hub/model-cards. Results are those of the
run's own evaluation at the exported step; the card of a run that was not evaluated there has none
and states so.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from data.files.json_files import read_json
from data.files.parquet_files import read_table
from data.files.paths import Place, exists
from data.languages import iso639_3_codes
from eval import losses
from eval.losses import LanguageLosses, Unit
from eval.report.markdown import bullets, escape, heading, table
from pipeline.artifacts import code_version
from pipeline.runs.directory import MixtureRecord, RunRecord, recorded_changes
from pipeline.runs.finished import evaluated_steps

UNDECLARED = "unknown"
MODEL_FIELDS = ("embed", "mlp", "heads", "head", "layers", "feed_forward", "vocabulary_rows")
TRAINING_FIELDS = ("steps", "rows", "inputs", "mixture", "mixture_from", "seed")


def model_card(
    run: Place, about: RunRecord, step: int, config: Mapping[str, Any], license_name: str | None
) -> str:
    """Returns the text of the card.

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
