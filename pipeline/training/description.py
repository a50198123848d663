"""What a run's directory says about the run: recipe.json, mixture.json and the vocabulary.

mixture.json has how often each language is read. One epoch is all training tokens of a language
once. Small languages repeat most: with temperature 0.3 and 10^12 tokens, the smallest of mC4 are
read more than 100 times.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from data.examples.loader import ExampleSource
from data.examples.pretraining_examples import Examples, Exposure
from data.files.atomic import write_bytes
from data.files.json_files import read_json, write_json
from data.files.paths import Place, exists, read_bytes
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from model import NUMERICS_VERSION
from model.flops import forward_flops
from model.trainer import Trainer
from model.transformer import parameter_count
from pipeline.artifacts import source_commit
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe, recipe_to_json
from pipeline.runs.directory import RECIPE, RunRecord

# What computes a run's numbers.
PACKAGES = "jax", "jaxlib", "equinox", "numpy"
MOST_EPOCHS = 40
SHOWN = 5  # number of languages at each end of the printed table


def describe_run(
    out: Place,
    recipe: Recipe,
    trainer: Trainer,
    inputs: Mapping[str, str],
    more: Mapping[str, Any] = {},
) -> None:
    """Writes recipe.json: the resolved recipe, its inputs and what follows from them.

    Args:
        out: the run's directory.
        recipe: the resolved recipe.
        trainer: trainer of the recipe.
        inputs: digest of each input, by name.
        more: further fields.
    """
    lengths = recipe.lengths
    fields = {
        "recipe": recipe_to_json(recipe),
        "parameters": parameter_count(trainer.shapes),
        "flops_per_sequence": forward_flops(recipe.model, lengths.inputs, lengths.targets),
        "lengths": lengths._asdict(),
        "devices": [device.device_kind for device in trainer.mesh.devices.flat],
        "inputs": inputs,
        "numerics_version": _begun_with(out),
        "commits": _commits(out),
        "packages": {name: version(name) for name in PACKAGES},  # of the last start
    }
    write_json(out / RECIPE, fields | dict(more))


def check_numerics(out: Place) -> None:
    """Checks that this version of the code computes the steps of an unfinished run as it began.

    Raises:
        ArtifactError: if recipe.json records a numerics version with other steps.
    """
    path = out / RECIPE
    if exists(path) and not read_json(path, RunRecord).has_todays_steps:
        raise ArtifactError(
            f"{out} was to be resumed with numerics version {NUMERICS_VERSION} and was begun with "
            f"version {_begun_with(out)}, which computes other numbers; resume it with the mswitch "
            "that began it, or name another --out."
        )


def _commits(out: Place) -> list[str]:
    """Returns the commits that have trained a run so far, this one last; none if unknown."""
    path = out / RECIPE
    before = read_json(path, RunRecord).commits if exists(path) else ()
    now = source_commit()
    commits = (*(commit for commit in before if commit != now), now)
    return [commit for commit in commits if commit is not None]


def _begun_with(out: Place) -> int:
    """Returns the numerics version that began a run; none recorded means 1."""
    path = out / RECIPE
    return read_json(path, RunRecord).numerics_version if exists(path) else NUMERICS_VERSION


def describe_data(out: Place, recipe: Recipe, examples: ExampleSource, console: Console) -> None:
    """Writes the vocabulary and mixture.json; prints the most and the least repeated languages."""
    write_bytes(out / MODEL_FILE, read_bytes(examples.vocabulary))
    languages = examples.exposure(recipe.steps * recipe.rows)
    named = {code: exposure._asdict() for code, exposure in languages.items()}
    later = {}
    if recipe.mixture_from and isinstance(examples, Examples):
        later = {"segments": segments_to_json(recipe, examples)}
        for line in mixtures_in_words(recipe, examples):
            console.print(f"{recipe.stage}: {line}", highlight=False)
    write_json(out / "mixture.json", {"languages": named, **later})
    print_exposure(languages, console)


def mixtures_in_words(recipe: Recipe, examples: Examples) -> Iterator[str]:
    """Yields a sentence per later mixture, and one on the languages that it begins anew."""
    for mixture, segment in zip(recipe.mixture_from, examples.segments[1:], strict=True):
        languages = len(segment.schedule.languages)
        yield (
            f"from step {mixture.step:,} on {mixture.mixture} over {languages} languages of "
            f"{segment.blocks.address}"
        )
        if segment.anew:
            yield (
                f"the tokens in {segment.blocks.address} do not begin with those before for "
                f"{', '.join(segment.anew)}: pages read in this epoch may be read again"
            )


def epochs_caution(recipe: Recipe, blocks: TokenBlocks) -> str:
    """Returns how often a run reads all its tokens; "" for at most `MOST_EPOCHS` times."""
    tokens = sum(blocks.counts("train", "tokens").values())
    per_step = recipe.rows * recipe.lengths.raw
    epochs = recipe.steps * per_step / max(tokens, 1)
    if epochs <= MOST_EPOCHS or recipe.mixture_from:
        return ""
    steps = -(-4 * tokens // per_step)
    return (
        f"{recipe.steps:,} steps read these {tokens:,} training tokens {epochs:,.0f} times; after "
        "4 times a network learns less from the same text, and from 40 on nothing (Muennighoff et "
        f"al. 2023). --set steps={steps} reads them 4 times."
    )


def segments_to_json(recipe: Recipe, examples: Examples) -> list[dict[str, Any]]:
    """Returns each segment of the mixture: its first step, its tokens, its shares by language."""
    mixtures = (recipe.mixture, *(later.mixture for later in recipe.mixture_from))
    return [
        {
            "from_step": segment.first // recipe.rows,
            "mixture": mixture,
            "tokens": segment.blocks.address,
            "shares": {code: segment.schedule.share(code) for code in segment.schedule.languages},
            "begun_anew": list(segment.anew),
        }
        for mixture, segment in zip(mixtures, examples.segments, strict=True)
    ]


def print_exposure(languages: Mapping[str, Exposure], console: Console) -> None:
    """Prints the most and the least repeated languages."""
    ordered = sorted(languages, key=lambda code: languages[code].epochs, reverse=True)
    numbers = (Column(name, justify="right") for name in ("share %", "tokens seen", "epochs"))
    table = Table("language", *numbers, title="repeated most and least")
    for code in ordered[:SHOWN]:
        table.add_row(code, *_cells(languages[code]))
    table.add_section()
    for code in ordered[SHOWN:][-SHOWN:]:
        table.add_row(code, *_cells(languages[code]))
    console.print(table)


def _cells(row: Exposure) -> tuple[str, str, str]:
    return f"{100 * row.weight:.2f}", f"{row.tokens_seen:,}", f"{row.epochs:.3g}"
