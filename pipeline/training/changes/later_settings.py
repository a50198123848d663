"""What a command asks from a step on: mixtures, tokens and rates, beside what its run records.

A recorded entry stays: a command that does not name it keeps it, one that repeats it changes
nothing, and one that contradicts it is refused. A new entry begins at a step that is not made yet.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, NamedTuple, TypeVar

from data.files.json_files import of_shape
from data.files.paths import Place
from model.config import OptimizerConfig, Rate, RateFrom
from pipeline.arguments import Pretrain
from pipeline.artifacts.claims import head_in
from pipeline.artifacts.differences import json_differences
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import on_first_host
from pipeline.recipe.mixture_from import MixtureFrom
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import saved_steps

Entry = TypeVar("Entry", MixtureFrom, RateFrom)
RATE_FIELDS = [field.name for field in fields(Rate)]


class Recorded(NamedTuple):
    """What a run's directory records of the settings that change from a step on.

    Attributes:
        made: number of steps made, by the last checkpoint.
        mixtures: mixtures from a step on.
        rates: rates from a step on.
    """

    made: int = 0
    mixtures: tuple[MixtureFrom, ...] = ()
    rates: tuple[RateFrom, ...] = ()


def recorded_in(out: Place, stage: str) -> Recorded:
    """Returns what a directory records; nothing if no such run is in it. Every host calls this."""
    settings, made = on_first_host(lambda: _settings(out, stage))
    place = str(out)
    optimizer = settings.get("optimizer", {})
    return Recorded(
        made,
        of_shape(settings.get("mixture_from", []), tuple[MixtureFrom, ...], place),
        of_shape(optimizer.get("rate_from", []), tuple[RateFrom, ...], place),
    )


def _settings(out: Place, stage: str) -> tuple[dict[str, Any], int]:
    head = head_in(out)
    if head is None or head.stage != stage:
        return {}, 0
    return head.settings, max(saved_steps(out), default=0)


def with_later_settings(recipe: Recipe, arguments: Pretrain) -> Recipe:
    """Returns the recipe with the mixtures and rates that the command and its run have.

    Raises:
        ArtifactError: if the command contradicts the run, or would change steps already made.
    """
    recorded = recorded_in(arguments.out, recipe.stage)
    asked = {one.step: one for one in recipe.mixture_from}
    known = {one.step: one for one in recorded.mixtures} | asked
    asked |= {one.step: one for one in asked_mixtures(arguments, recipe.mixture, known)}
    mixtures = joined("mixture", recorded.mixtures, asked, recorded.made, recipe.steps)
    rates = {one.step: one for one in recipe.optimizer.rate_from}
    known_rates = {one.step: one for one in recorded.rates} | rates
    rates |= {one.step: one for one in asked_rates(arguments, recipe.optimizer, known_rates)}
    joined_rates = joined("rate", recorded.rates, rates, recorded.made, recipe.steps)
    optimizer = replace(recipe.optimizer, rate_from=joined_rates)
    return replace(recipe, mixture_from=mixtures, optimizer=optimizer)


def joined(
    what: str, recorded: Sequence[Entry], asked: Mapping[int, Entry], made: int, steps: int
) -> tuple[Entry, ...]:
    """Returns recorded and asked entries in the order of their steps.

    Args:
        what: what they change, for messages.
        recorded: entries of the run.
        asked: entries of the command, by step.
        made: number of steps made.
        steps: number of steps of the run.

    Raises:
        ArtifactError: if an asked entry differs from the recorded one of its step, or a new one
            begins at a step already made or after the last.
    """
    found = {one.step: one for one in recorded}
    for step, one in sorted(asked.items()):
        if step in found:
            _check_same(what, found[step], one)
        elif not max(made, 1) <= step < steps:
            raise ArtifactError(
                f"Another {what} was asked from step {step:,} on, of a run of {steps:,} steps that "
                f"has made {made:,}; name a step that is not made yet, below the number of "
                "steps."
            )
        found[step] = one
    return tuple(found[step] for step in sorted(found))


def _check_same(what: str, there: Entry, asked: Entry) -> None:
    """Checks that an entry repeats the recorded one; tokens are compared by digest, elsewhere."""
    old, new = ({k: v for k, v in asdict(one).items() if k != "tokens"} for one in (there, asked))
    if lines := json_differences(old, new):
        raise ArtifactError(
            f"The run has another {what} from step {there.step:,} on ({'; '.join(lines)}); omit "
            "the option to keep it, or name a later step."
        )


def asked_mixtures(
    arguments: Pretrain, first: str, known: Mapping[int, MixtureFrom]
) -> Iterator[MixtureFrom]:
    """Yields the mixtures of --mixture-from and --tokens-from; what is not named stays.

    Args:
        arguments: the command's arguments.
        first: mixture of the first step.
        known: mixtures that the run has, by step.
    """
    mixtures = by_step("--mixture-from", arguments.mixture_from, "uniform")
    tokens = by_step("--tokens-from", arguments.tokens_from, "TOKENS")
    known = dict(known)
    for step in sorted({*mixtures, *tokens}):
        before = [known[one] for one in sorted(known) if one <= step]
        kept = before[-1].mixture if before else first
        same = known[step].tokens if step in known else ""
        known[step] = MixtureFrom(
            step=step, mixture=mixtures.get(step, kept), tokens=tokens.get(step, same)
        )
        yield known[step]


def asked_rates(
    arguments: Pretrain, first: OptimizerConfig, known: Mapping[int, RateFrom]
) -> Iterator[RateFrom]:
    """Yields the rates of --rate-from; fields that are not named stay.

    Raises:
        ArtifactError: if a field is unknown, has no number or is named twice.
    """
    known = dict(known)
    for step, text in sorted(by_step("--rate-from", arguments.rate_from, "scale=0.5").items()):
        earlier = [known[one] for one in sorted(known) if one < step]
        values = {name: getattr((earlier or [first])[-1], name) for name in RATE_FIELDS}
        named = [setting.partition("=") for setting in text.split(",")]
        if len({name for name, _, _ in named}) < len(named):
            raise ArtifactError(
                f"--rate-from {step}={text} was asked, which names a field twice; name each once."
            )
        for name, _, value in named:
            values[name] = _number(name, value, values, f"{step}={text}")
        known[step] = RateFrom(step=step, **values)
        yield known[step]


def _number(name: str, text: str, values: Mapping[str, Any], whole: str) -> Any:
    try:
        return type(values[name])(text)
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"--rate-from {whole} was asked, in which {name}={text!r} sets no rate; write numbers "
            f"for {', '.join(RATE_FIELDS)}, such as {whole.partition('=')[0]}=scale=0.5."
        ) from error


def by_step(option: str, words: Sequence[str], example: str) -> dict[int, str]:
    """Returns the values of an option's words STEP=VALUE, by step.

    Raises:
        ArtifactError: if a word has another form, or two have one step.
    """
    found: dict[int, str] = {}
    for word in words:
        step, _, value = word.partition("=")
        if not (step.isdecimal() and value) or int(step) in found:
            raise ArtifactError(
                f"{option} was given {' '.join(words)}; write STEP=VALUE once per step, such as "
                f"1000={example}."
            )
        found[int(step)] = value
    return found
