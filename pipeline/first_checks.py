"""What is refused before a command's libraries are loaded: numbers, names and missing directories.

JAX, Beam, SciPy and Arrow take seconds to load. A missing run or a mistyped recipe is refused
without them, in the words of the command, by the functions that the command itself calls.

Only places on this machine are looked at here: the answer of a store would be waited for twice.
Several hosts look after they have joined, so that one that finds a mistake ends the others. Options
of Beam are checked before anything else, by Beam.
"""

import glob
import itertools
import os
from collections.abc import Sequence

from data.files.paths import is_remote
from data.languages import codes
from model.config import ConfigurationError
from pipeline import arguments
from pipeline.artifacts import (
    Head,
    head_in,
    is_finished,
    read_manifest,
)
from pipeline.corpus.other_formats import no_such_input
from pipeline.fields import CORPUS


def check_first(command: object) -> None:
    """Checks numbers of a command, and the recipes and places of this machine that it names.

    The order is that of the command itself.

    Args:
        command: arguments of the command.

    Raises:
        ArtifactError: if a place is missing or another stage's, or a recipe is unknown.
        DataError: if an input names no file, or a language is unknown.
        ConfigurationError: if a number is out of its range, or settings of a recipe do not fit
            together.
    """
    hosts = getattr(command, "hosts", None)
    if getattr(command, "beam", ()) or (hosts is not None and hosts.count > 1):
        return
    match command:
        case arguments.Clean():
            _check_languages(command.languages)
            _check_inputs(command.input)
        case arguments.Estimate():
            check_estimate(command)
            _check_inputs(command.input)
        case arguments.Withdraw():
            _check_corpora([command.corpus])
        case arguments.Select():
            _check_corpora([command.corpus])
            _check_output(command.scores, "score")


def _check_inputs(patterns: Sequence[str]) -> None:
    for pattern in patterns:
        names = itertools.chain([pattern], glob.iglob(pattern, recursive=True))
        if "://" not in pattern and not any(map(os.path.isfile, names)):
            raise no_such_input(pattern)


def _check_languages(languages: Sequence[str] | None) -> None:
    if languages:
        codes(languages)


def _check_corpora(corpora: Sequence[str]) -> None:
    for corpus in corpora:
        if not is_remote(corpus):
            _check_output(corpus, CORPUS.stages)


def _check_output(directory: str, stage: str | tuple[str, ...]) -> None:
    """Checks that a directory is a stage's; "" names none."""
    if directory and not is_remote(directory):
        head = head_in(directory)
        if (
            head is None
            or head.stage not in ((stage,) if isinstance(stage, str) else stage)
            or not is_finished(directory)
        ):
            read_manifest(directory, stage, Head)


def check_estimate(command: arguments.Estimate) -> None:
    """Checks the size of the sample and the price.

    Raises:
        ConfigurationError: if the sample would have no size, or the price is negative.
    """
    if command.sample_megabytes < 1:
        raise ConfigurationError(
            f"--sample-megabytes was {command.sample_megabytes}; give 1 or more."
        )
    if command.price_per_core_hour < 0:
        raise ConfigurationError(
            f"--price-per-core-hour was {command.price_per_core_hour:g}; give 0 or more."
        )
