"""What a finished run is used for next, as commands that can be pasted: filled, then exported."""

import unicodedata
from collections.abc import Iterator

from data.files.digests import digest_of_contents
from data.files.paths import Place
from data.tokens.tokenizer import MODEL_FILE
from model.config import ConfigurationError
from pipeline.artifacts import EXPORT
from pipeline.following import made_from, new_beside
from pipeline.recipe.recipe import Recipe, recipe_from_json
from pipeline.runs.directory import RECIPE, find_run, saved_steps
from pipeline.runs.finished import FilledGap, latest_gaps

MOST_CHARACTERS = 40  # of a text on each side of its gap
# Letters, marks and numbers: no shell and no terminal interprets them. Some words need joiners.
PLAIN, JOINERS = "LMN", "\u200c\u200d"


def fill_command(run: Place) -> tuple[object, ...]:
    """Returns the words that fill a gap of a held-out page; none if the run filled none so far."""
    _, gaps = latest_gaps(run)
    text = next(filter(None, map(text_of, gaps)), "")
    return ("fill", "--run", run, text) if text and saved_steps(run) else ()


def text_of(gap: FilledGap) -> str:
    """Returns a few words of a page around its gap; "" if none stands before the gap."""
    before, after = plain(gap.before)[-MOST_CHARACTERS:], plain(gap.after)[:MOST_CHARACTERS]
    if len(before) == MOST_CHARACTERS:  # a word that was cut is left out
        before = before.partition(" ")[2] or before
    if len(after) == MOST_CHARACTERS:
        after = after.rpartition(" ")[0] or after
    return f"{before.lstrip()}<extra_id_0>{after.rstrip()}" if before.strip() else ""


def plain(text: str) -> str:
    """Returns the words of a text with one space between, and towards its ends where it has one."""
    words = (
        character if unicodedata.category(character)[0] in PLAIN or character in JOINERS else " "
        for character in text
    )
    joined = "".join(words)
    inner = " ".join(joined.split())
    return f"{' ' * joined.startswith(' ')}{inner}{' ' * joined.endswith(' ')}"


def tokens_of_its_own(run: Place) -> Iterator[object]:
    """Yields the words that adopt a run's vocabulary, by which its tokens are then cut."""
    yield from ("vocabulary", "--model", run / MODEL_FILE)
    yield from ("--out", new_beside(run, f"vocabulary-{run.name}"))


def export_command(run: Place) -> tuple[object, ...]:
    """Returns the words that export a run, or inspect the export that lies beside it.

    None for a run without a checkpoint, or without a form in Transformers.
    """
    recipe = recipe_from_json(find_run(run).recipe, str(run / RECIPE))
    if not saved_steps(run) or not _has_form(recipe):
        return ()
    for exported, _ in made_from(run, EXPORT, digest_of_contents(run / RECIPE)):
        return "inspect", exported
    return "export-hf", "--run", run, "--out", new_beside(run, f"{run.name}-exported")


def _has_form(recipe: Recipe) -> bool:
    """Returns whether Transformers can express the network, as it can each dense one."""
    if recipe.model.switch is None:
        return True
    from model.hugging_face.config import export_config  # with JAX

    try:
        export_config(recipe.model, recipe.inputs, recipe.lengths.targets)
    except ConfigurationError:
        return False
    return True
