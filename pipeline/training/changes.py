"""Settings that may change in mid-run: those that leave the steps already made as they were.

One function, `settings_before`, returns what the steps before a given one depend on. A resume must
agree in that with its run, and a branch with its trunk (`start.py`).

The number of steps, the intervals, and mixtures, tokens and rates that begin at a later step may
change, provided that the learning rates of the steps already made stay the same. Such changes are
recorded (`runs/directory.py`) and the directory's claim is renewed. The claim refuses every other
change and prints the difference.

A recorded entry stays: a command that does not name it keeps it, one that repeats it changes
nothing, and one that contradicts it is refused. A new entry begins at a step that is not made yet.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import DataError
from data.examples.mixture import make_schedule, parse, weights_file
from data.examples.segments import Mixture
from data.files.digests import digest_of_contents
from data.files.json_files import of_shape
from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from model.config import OptimizerConfig, Rate, RateFrom
from model.optimizer import learning_rate
from pipeline.artifacts import (
    Head,
    digest_of_manifest,
    head_in,
    is_finished,
    json_differences,
    renew,
)
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions
from pipeline.hardware.hosts import on_first_host
from pipeline.recipe.recipe import Differs, MixtureFrom, Recipe, fixed_settings, may_differ
from pipeline.runs.directory import ChangedSetting, record_changes, saved_steps
from pipeline.runs.finished import forget_evaluations
from pipeline.stage import Identity
from pipeline.tokens.opened_blocks import check_blocks, open_blocks, training_sizes

Entry = TypeVar("Entry", MixtureFrom, RateFrom)
RATE_FIELDS = [field.name for field in fields(Rate)]


def open_later(recipe: Recipe, first: TokenBlocks, cache: CacheOptions) -> tuple[TokenBlocks, ...]:
    """Returns the token blocks of each later mixture; where none are named, those before it.

    Raises:
        ArtifactError: if there are no finished token blocks.
        DataError: if the store cannot be read.
    """
    opened = [first]
    for mixture in recipe.mixture_from:
        opened.append(open_blocks(mixture.tokens, cache) if mixture.tokens else opened[-1])
    return tuple(opened[1:])


def check_later(recipe: Recipe, first: TokenBlocks, later: Sequence[TokenBlocks]) -> None:
    """Checks the token blocks and the mixtures that a run changes to.

    Raises:
        DataError: if blocks are damaged or have another vocabulary, or a mixture cannot be drawn.
        ArtifactError: if the vocabulary beside blocks is another than theirs.
    """
    mixtures = zip(recipe.mixture_from, later, strict=True)
    for before, (mixture, blocks) in zip((first, *later), mixtures, strict=False):
        if blocks is not before:
            check_blocks(blocks)
        if blocks.manifest.vocabulary != first.manifest.vocabulary:
            raise DataError(
                f"The tokens in {blocks.address} were asked for from step {mixture.step:,} on and "
                f"have another vocabulary than {first.address}; tokenize with that of the run."
            )
        make_schedule(parse(mixture.mixture, training_sizes(blocks)), recipe.seed)


def later_digests(recipe: Recipe, later: Sequence[TokenBlocks]) -> dict[str, str]:
    """Returns the digest of each input of the later mixtures, named by its step."""
    digests = {}
    for mixture, blocks in zip(recipe.mixture_from, later, strict=True):
        tokens_input, weights_input = later_inputs(mixture.step)
        if mixture.tokens:
            digests[tokens_input] = digest_of_manifest(blocks.directory)
        if weights := weights_file(mixture.mixture):
            digests[weights_input] = digest_of_contents(weights)
    return digests


def later_inputs(step: int) -> tuple[str, str]:
    """Returns the names of the inputs that a mixture from this step on may have."""
    return f"tokens_from_{step}", f"weights_from_{step}"


def later_mixtures(recipe: Recipe, later: Sequence[TokenBlocks]) -> tuple[Mixture, ...]:
    """Returns the later mixtures by their first examples."""
    return tuple(
        Mixture(
            mixture.step * recipe.rows,
            make_schedule(parse(mixture.mixture, training_sizes(blocks)), recipe.seed),
            blocks,
        )
        for mixture, blocks in zip(recipe.mixture_from, later, strict=True)
    )


class Agreement(NamedTuple):
    """The changes that a command may make in the run of its directory.

    Attributes:
        changes: settings that change; none if only a place of tokens is named otherwise.
        finished: whether the run is finished, and stays so.
        made: number of steps made, by the last checkpoint.
    """

    changes: tuple[ChangedSetting, ...]
    finished: bool
    made: int

    def record(self, out: Place, stage: str, identity: Identity) -> None:
        """Records the changes, and claims the directory for them.

        Two kinds of evaluations are removed. A killed run may have evaluated steps after its last
        checkpoint; these steps are repeated with the new settings. A lengthened run was evaluated
        at its former end, perhaps between two regular evaluations. Those at a former interval stay.
        """
        every = identity.settings["evaluate_every"]
        former = [change.before for change in self.changes if change.setting == "steps"]
        ends = [step for step in former if every and step % every]
        forget_evaluations(out, lambda step: step > self.made)
        record_changes(out, self.changes)
        renew(out, stage, *identity)
        forget_evaluations(out, lambda step: step in ends)  # a finished run no more


def agreement_of(out: Place, stage: str, identity: Identity) -> Agreement | None:
    """Returns the changes that a command may make; None if its directory's claim alone decides.

    The claim alone decides if the directory holds no run of this stage, if nothing changes, or if a
    setting changes that must not, which the claim refuses. It always decides for fine-tuned runs.

    Raises:
        ArtifactError: if the changes would alter steps already made.
    """
    head = head_in(out)
    settings = json.loads(json.dumps(identity.settings))
    if head is None or head.stage != stage or stage == "finetune":
        return None
    if head.settings == settings or not _may_resume(head, Identity(settings, identity.inputs)):
        return None
    made, finished = max(saved_steps(out), default=0), is_finished(out)
    changes = changes_between(head.settings, settings, made)
    if finished and changes and settings["steps"] <= head.settings["steps"]:
        return None
    if finished and changes and made < head.settings["steps"]:
        raise ArtifactError(
            f"{out} has made its {head.settings['steps']:,} steps, has no checkpoint of the last "
            f"one and was to make {settings['steps']:,}; restore the checkpoint, or name another "
            "--out."
        )
    check_steps_made(out, head.settings, settings, made)
    return Agreement(changes, finished and not changes, made)


def _may_resume(head: Head, asked: Identity) -> bool:
    """Returns whether nothing differs but intervals, steps, and mixtures and rates from a step."""
    added = asked.inputs.keys() - head.inputs.keys()
    return (
        all(asked.inputs.get(name) == digest for name, digest in head.inputs.items())
        and all(name.startswith(("tokens_from_", "weights_from_")) for name in added)
        and settings_before(head.settings, 0) == settings_before(asked.settings, 0)
    )


def settings_before(settings: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Returns the settings on which the steps before `step` depend, as a resume or a branch has it.

    These are neither intervals nor the number of steps, whose part in the rate is compared by
    itself (`check_steps_made`), and of the mixtures and rates from a step on those before `step`.
    """
    optimizer = settings["optimizer"]
    return fixed_settings(settings, Differs.CHANGED) | {
        "optimizer": optimizer | {"rate_from": _entries_before(optimizer, "rate_from", step)},
        "mixture_from": _entries_before(settings, "mixture_from", step),
    }


def _entries_before(settings: Mapping[str, Any], name: str, step: int) -> list[dict[str, Any]]:
    return [_placeless(entry) for entry in settings.get(name, ()) if entry["step"] < step]


def changes_between(
    before: Mapping[str, Any], after: Mapping[str, Any], made: int
) -> tuple[ChangedSetting, ...]:
    """Returns numbers that differ and new entries of lists; tokens that only moved are none."""
    numbers = [
        ChangedSetting(made, name, before[name], after[name])
        for name in after
        if name in may_differ(Differs.CHANGED) and before[name] != after[name]
    ]
    lists = [
        ChangedSetting(made, name, None, entry)
        for name, old, new in (
            ("mixture_from", before, after),
            ("rate_from", before["optimizer"], after["optimizer"]),
        )
        for entry in new.get(name, [])
        if _placeless(entry) not in map(_placeless, old.get(name, []))
    ]
    return (*numbers, *lists)


def check_steps_made(
    out: Place, before: Mapping[str, Any], after: Mapping[str, Any], made: int
) -> None:
    """Checks that new settings keep all steps made, with their mixtures and learning rates.

    Raises:
        ArtifactError: if they ask for fewer steps, or would change the mixture or rate of one.
    """
    steps = before["steps"], after["steps"]
    if after["steps"] < made:
        raise ArtifactError(
            f"{out} has made {made:,} steps and {after['steps']:,} were asked; ask for as many or "
            "more, or name another --out."
        )
    if lines := json_differences(_mixtures(before, made), _mixtures(after, made)):
        raise ArtifactError(
            f"{out} has made {made:,} steps with other mixtures ({'; '.join(lines)}); repeat those "
            "that began before, or name another --out."
        )
    rates = [_rates(settings, made, str(out)) for settings in (before, after)]
    if len(different := np.flatnonzero(rates[0] != rates[1])):
        step = int(different[0])
        raise ArtifactError(
            f"{out} has {steps[0]:,} steps and {steps[1]:,} were asked for; add --set "
            f"steps={steps[0]}, or add --start {out} and name another --out to train on from its "
            f"weights: of the {made:,} steps made, step {step + 1:,} would have had the learning "
            f"rate {rates[1][step]:.4g} instead of {rates[0][step]:.4g}, because decay_from is a "
            "share of the number of steps."
        )


def _mixtures(settings: Mapping[str, Any], made: int) -> dict[str, Any]:
    """Returns the later mixtures of the steps made."""
    entries = _entries_before(settings, "mixture_from", made)
    return {f"mixture_from {entry['step']}": entry for entry in entries}


def _placeless(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a later mixture or rate without the place of its tokens: their digest is an input."""
    return {**entry, **({"tokens": bool(entry["tokens"])} if "tokens" in entry else {})}


def _rates(settings: Mapping[str, Any], made: int, place: str) -> np.ndarray:
    config = of_shape(settings["optimizer"], OptimizerConfig, place)
    return np.asarray(jax.vmap(learning_rate(config, settings["steps"]))(jnp.arange(made)))


def with_later_settings(
    recipe: Recipe,
    out: Place,
    mixture_from: Sequence[str],
    tokens_from: Sequence[str],
    rate_from: Sequence[str],
) -> Recipe:
    """Returns the recipe with the mixtures and rates that a command and its run have.

    Every host must call this.

    Args:
        recipe: recipe of the run.
        out: the run's directory, which may hold steps and what was recorded of them.
        mixture_from: words of --mixture-from.
        tokens_from: words of --tokens-from.
        rate_from: words of --rate-from.

    Raises:
        ArtifactError: if the command contradicts the run, or would change steps already made.
    """
    steps = recipe.steps
    settings, made = on_first_host(lambda: _recorded_settings(out, recipe.stage))
    mixtures = of_shape(settings.get("mixture_from", []), tuple[MixtureFrom, ...], str(out))
    asked = _by_step(recipe.mixture_from)
    asked |= _by_step(
        asked_mixtures(mixture_from, tokens_from, recipe.mixture, _by_step(mixtures) | asked)
    )
    joined_mixtures = joined_entries("mixture", mixtures, asked, made, steps)

    recorded = settings.get("optimizer", {}).get("rate_from", [])
    rates = of_shape(recorded, tuple[RateFrom, ...], str(out))
    asked_for = _by_step(recipe.optimizer.rate_from)
    asked_for |= _by_step(asked_rates(rate_from, recipe.optimizer, _by_step(rates) | asked_for))
    joined_rates = joined_entries("rate", rates, asked_for, made, steps)
    optimizer = replace(recipe.optimizer, rate_from=joined_rates)
    return replace(recipe, mixture_from=joined_mixtures, optimizer=optimizer)


def _recorded_settings(out: Place, stage: str) -> tuple[dict[str, Any], int]:
    """Returns the settings of the run in a directory, if there is one, and its steps made."""
    head = head_in(out)
    if head is None or head.stage != stage:
        return {}, 0
    return head.settings, max(saved_steps(out), default=0)


def _by_step(entries: Iterable[Entry]) -> dict[int, Entry]:
    return {entry.step: entry for entry in entries}


def joined_entries(
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
    entries = _by_step(recorded)
    for step, entry in sorted(asked.items()):
        if step in entries:
            _check_same(what, entries[step], entry)
        elif not max(made, 1) <= step < steps:
            raise ArtifactError(
                f"Another {what} was asked from step {step:,} on, of a run of {steps:,} steps that "
                f"has made {made:,}; name a step that is not made yet, below the number of "
                "steps."
            )
        entries[step] = entry
    return tuple(entries[step] for step in sorted(entries))


def _check_same(what: str, recorded: Entry, asked: Entry) -> None:
    """Checks that an entry repeats the recorded one; tokens are compared by digest, elsewhere."""
    # A rate has no tokens.
    old, new = (asdict(entry) | {"tokens": None} for entry in (recorded, asked))
    if lines := json_differences(old, new):
        raise ArtifactError(
            f"The run has another {what} from step {recorded.step:,} on ({'; '.join(lines)}); omit "
            "the option to keep it, or name a later step."
        )


def asked_mixtures(
    mixture_from: Sequence[str],
    tokens_from: Sequence[str],
    first: str,
    known: Mapping[int, MixtureFrom],
) -> Iterator[MixtureFrom]:
    """Yields the mixtures of --mixture-from and --tokens-from; what is not named stays.

    Args:
        mixture_from: words of --mixture-from.
        tokens_from: words of --tokens-from.
        first: mixture of the first step.
        known: mixtures that the run has, by step.
    """
    mixtures = values_by_step("--mixture-from", mixture_from, "uniform")
    tokens = values_by_step("--tokens-from", tokens_from, "TOKENS")
    known = dict(known)
    for step in sorted({*mixtures, *tokens}):
        before = [known[earlier] for earlier in sorted(known) if earlier <= step]
        kept_mixture = before[-1].mixture if before else first
        kept_tokens = known[step].tokens if step in known else ""
        known[step] = MixtureFrom(
            step=step,
            mixture=mixtures.get(step, kept_mixture),
            tokens=tokens.get(step, kept_tokens),
        )
        yield known[step]


def asked_rates(
    rate_from: Sequence[str], first: OptimizerConfig, known: Mapping[int, RateFrom]
) -> Iterator[RateFrom]:
    """Yields the rates of --rate-from; fields that are not named stay.

    Raises:
        ArtifactError: if a field is unknown, has no number or is named twice.
    """
    known = dict(known)
    texts = values_by_step("--rate-from", rate_from, "scale=0.5")
    for step, text in sorted(texts.items()):
        before = [known[earlier] for earlier in sorted(known) if earlier < step]
        values = {name: getattr((before or [first])[-1], name) for name in RATE_FIELDS}
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


def values_by_step(option: str, words: Sequence[str], example: str) -> dict[int, str]:
    """Returns the values of an option's words STEP=VALUE, by step.

    Raises:
        ArtifactError: if a word has another form, or two have one step.
    """
    values: dict[int, str] = {}
    for word in words:
        step, _, value = word.partition("=")
        if not (step.isdecimal() and value) or int(step) in values:
            raise ArtifactError(
                f"{option} was given {' '.join(words)}; write STEP=VALUE once per step, such as "
                f"1000={example}."
            )
        values[int(step)] = value
    return values
