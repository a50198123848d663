"""The token blocks of a run's later mixtures: opened, checked, and named among its inputs."""

from collections.abc import Iterator, Sequence

from data.errors import DataError
from data.examples.mixture import make_schedule, parse, weights_file
from data.examples.pretraining_examples import Examples
from data.examples.segments import Mixture
from data.files.digests import digest_of_contents
from data.tokens.blocks import TokenBlocks
from pipeline.arguments import CacheOptions
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.recipe.mixture_from import MixtureFrom
from pipeline.recipe.recipe import Recipe
from pipeline.tokens.checks import check_blocks
from pipeline.tokens.open_blocks import open_blocks, training_sizes


def open_later(recipe: Recipe, first: TokenBlocks, cache: CacheOptions) -> tuple[TokenBlocks, ...]:
    """Returns the token blocks of each later mixture; where none are named, those before it.

    Raises:
        ArtifactError: if there are no finished token blocks.
        DataError: if the store cannot be read.
    """
    found = [first]
    for one in recipe.mixture_from:
        found.append(open_blocks(one.tokens, cache) if one.tokens else found[-1])
    return tuple(found[1:])


def check_later(recipe: Recipe, first: TokenBlocks, later: Sequence[TokenBlocks]) -> None:
    """Checks the token blocks and the mixtures that a run changes to.

    Raises:
        DataError: if blocks are damaged or have another vocabulary, or a mixture cannot be drawn.
        ArtifactError: if the vocabulary beside blocks is another than theirs.
    """
    for before, (one, blocks) in zip((first, *later), pairs(recipe, later), strict=False):
        if blocks is not before:
            check_blocks(blocks)
        if blocks.manifest.vocabulary != first.manifest.vocabulary:
            raise DataError(
                f"The tokens in {blocks.address} were asked for from step {one.step:,} on and "
                f"have another vocabulary than {first.address}; tokenize with that of the run."
            )
        make_schedule(parse(one.mixture, training_sizes(blocks)), recipe.seed)


def later_digests(recipe: Recipe, later: Sequence[TokenBlocks]) -> dict[str, str]:
    """Returns the digest of each input of the later mixtures, named by its step."""
    found = {}
    for one, blocks in pairs(recipe, later):
        tokens, of_weights = later_inputs(one.step)
        if one.tokens:
            found[tokens] = digest_of_manifest(blocks.directory)
        if weights := weights_file(one.mixture):
            found[of_weights] = digest_of_contents(weights)
    return found


def later_inputs(step: int) -> tuple[str, str]:
    """Returns the names of the inputs that a mixture from this step on may have."""
    return f"tokens_from_{step}", f"weights_from_{step}"


def later_mixtures(recipe: Recipe, later: Sequence[TokenBlocks]) -> tuple[Mixture, ...]:
    """Returns the later mixtures by their first examples."""
    return tuple(
        Mixture(
            one.step * recipe.rows,
            make_schedule(parse(one.mixture, training_sizes(blocks)), recipe.seed),
            blocks,
        )
        for one, blocks in pairs(recipe, later)
    )


def pairs(
    recipe: Recipe, later: Sequence[TokenBlocks]
) -> Iterator[tuple[MixtureFrom, TokenBlocks]]:
    """Yields each later mixture with its token blocks."""
    yield from zip(recipe.mixture_from, later, strict=True)


def lines_of(recipe: Recipe, examples: Examples) -> Iterator[str]:
    """Yields each change of the mixture in words, and the languages that it begins anew."""
    for one, segment in zip(recipe.mixture_from, examples.segments[1:], strict=True):
        languages = len(segment.schedule.languages)
        yield (
            f"from step {one.step:,} on {one.mixture} over {languages} languages of "
            f"{segment.blocks.address}"
        )
        if segment.anew:
            yield (
                f"the tokens in {segment.blocks.address} do not begin with those before for "
                f"{', '.join(segment.anew)}: pages read in this epoch may be read again"
            )
