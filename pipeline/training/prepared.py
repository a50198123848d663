"""A training command before it trains: every check that needs no compilation, then the claim."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from data.examples.mixture import weights_file
from data.files.digests import digest_of_contents
from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from pipeline.arguments import Distill, Finetune, Pretrain, TrackerName
from pipeline.artifacts.claims import Claim, claim, digest_of_manifest
from pipeline.artifacts.intent import Identity
from pipeline.artifacts.output_lock import output_lock
from pipeline.hardware.compilation_cache import keep_compiled_programs
from pipeline.hardware.coordination import held_by_first_host, is_first, on_first_host
from pipeline.recipe.recipe import FREE, Recipe, recipe_to_json, with_rows
from pipeline.terminal import Terminal
from pipeline.tokens.open_blocks import open_blocks
from pipeline.training.changes.allowed_changes import agreement_of
from pipeline.training.changes.later_tokens import check_later, later_digests, open_later
from pipeline.training.checks import check_start
from pipeline.training.description import check_numerics
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import check_trackers
from pipeline.training.profiling import check_profile


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A training command whose arguments passed all checks.

    Attributes:
        recipe: resolved recipe; its `stage` is the command.
        out: the run's directory.
        inputs: digest of each input, by name; other digests make another run.
        profile: first and last step to trace; None for no trace.
        track: trackers that also get the run's numbers.
        account: account of the run's time.
        console: console for messages.
        blocks: token blocks to train on; None for a run on tasks alone.
        later: token blocks of each later mixture.
    """

    recipe: Recipe
    out: Place
    inputs: Mapping[str, str]
    profile: tuple[int, int] | None
    track: tuple[TrackerName, ...]
    account: TimeAccount
    console: Console
    blocks: TokenBlocks | None = None
    later: tuple[TokenBlocks, ...] = ()

    def with_input(self, name: str, digest: str) -> "PreparedRun":
        """Returns the run with one more input."""
        return replace(self, inputs={**self.inputs, name: digest})

    @property
    def identity(self) -> Identity:
        """What the run's directory is claimed for."""
        return Identity(self.settings, self.inputs)

    def announce(self, text: str) -> None:
        """Prints a message of the run's command."""
        self.console.print(f"{self.recipe.stage}: {text}", highlight=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that changes the run, as JSON values."""
        return {k: value for k, value in recipe_to_json(self.recipe).items() if k not in FREE}


def prepare(
    arguments: Pretrain | Distill,
    recipe: Recipe,
    more_checks: Sequence[Callable[[Recipe, TokenBlocks], None]] = (),
    first: int = 0,
) -> PreparedRun:
    """Opens the tokens and makes every check that needs no compilation.

    Args:
        arguments: the command's arguments.
        recipe: recipe with its overrides; its vocabulary rows may be those of the tokens.
        more_checks: further checks, called with the resolved recipe and the opened token blocks.
        first: step of the run's first state.

    Raises:
        ArtifactError: if any check fails; the message lists all failures.
    """
    prepared = unchecked_run(arguments, recipe)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    later = open_later(recipe, blocks, arguments.cache)
    recipe = with_rows(recipe, blocks.manifest.vocabulary.vocabulary_rows)
    more = [functools.partial(check, recipe, blocks) for check in more_checks]
    traced = functools.partial(check_profile, arguments.profile, recipe.steps)
    changed = functools.partial(check_later, recipe, blocks, later)
    check_start(recipe, blocks, arguments.out, [changed, traced, *more], first)
    inputs = input_digests(recipe, blocks) | later_digests(recipe, later)
    return replace(prepared, recipe=recipe, blocks=blocks, later=later, inputs=inputs)


def unchecked_run(arguments: Pretrain | Distill | Finetune, recipe: Recipe) -> PreparedRun:
    """Returns a run without inputs, of which nothing is checked yet but its trackers.

    Raises:
        ArtifactError: if a tracker is not installed.
    """
    account, console = TimeAccount(), Terminal(stderr=True)
    on_first_host(lambda: check_trackers(arguments.track, arguments.out))
    keep_compiled_programs()
    return PreparedRun(
        recipe=recipe,
        out=arguments.out,
        inputs={},
        profile=arguments.profile,
        track=arguments.track if is_first() else (),
        account=account,
        console=console,
    )


@contextmanager
def locked_by_first_host(prepared: PreparedRun) -> Iterator[None]:
    """Holds the lock on the run's directory, on the first host, which writes for all.

    Raises:
        LockHeld: if another command works on the directory.
    """
    with held_by_first_host(lambda: output_lock(prepared.out, prepared.recipe.stage)):
        yield


def claim_run(prepared: PreparedRun) -> Claim:
    """Claims the run's directory; returns what was there, and prints if that is finished.

    Raises:
        ArtifactError: if the directory holds something else, or a run with other settings or
            another numerics version.
    """
    found = Claim(on_first_host(lambda: _claim(prepared).value))
    if found is Claim.FINISHED:
        prepared.console.print(f"{prepared.recipe.stage}: {prepared.out} is finished.")
    return found


def _claim(prepared: PreparedRun) -> Claim:
    out, stage = prepared.out, prepared.recipe.stage
    agreement = agreement_of(out, stage, prepared.identity)
    if agreement is not None and agreement.finished:
        return Claim.FINISHED
    if agreement is not None:
        check_numerics(out)
        agreement.record(out, stage, prepared.identity)
        for change in agreement.changes:
            prepared.announce(str(change))
    found = claim(out, stage, *prepared.identity)
    if found is Claim.UNFINISHED:
        check_numerics(out)
    return found


def input_digests(recipe: Recipe, blocks: TokenBlocks) -> dict[str, str]:
    """Returns the digest of each input of a run: tokens, vocabulary, a file of mixture weights."""
    inputs = {
        "tokens": digest_of_manifest(blocks.directory),
        "vocabulary": blocks.manifest.vocabulary.sha256,
    }
    if weights := weights_file(recipe.mixture):
        inputs["weights"] = digest_of_contents(weights)
    return inputs
