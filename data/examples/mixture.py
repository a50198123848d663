"""The mixture: how much of each language is read, and so the language of example i.

    temperature:ALPHA          pages ** ALPHA; mT5 (section 3.1, code `rate_num_examples`) has 0.3
    proportional               the same with 1
    uniform                    the same with 0
    unimax:EPOCHS:CHARACTERS   UniMax (Chung et al. 2023, algorithm 1): as uniform as a budget of
                               CHARACTERS allows if no language is read more than EPOCHS times
    weights:FILE               the user's weights: JSON {"sw": 0.5} or lines "sw<TAB>0.5"

Temperature counts *pages*, not tokens, as in mT5. UniMax counts *characters*, as in umT5, which
assumes 4 characters per token: CHARACTERS is steps x rows x raw window x 4. A setting therefore
means the same for a vocabulary and for the run trained with it. All weights are positive and sum to
1; a language without a positive weight is an error and is not dropped silently.

A schedule follows from the weights by fixed quotas: in every block of 65,536 examples each language
has the same number of examples, by cumulative rounding (a share is off by less than 1/65,536), at
pseudo-random positions. The language of example i, and the number of earlier examples of that
language, therefore follow from i alone, without prefix sums over earlier blocks. A block is laid
out once, in about 6 ms, and the last few are cached. docs/decisions/fixed-quotas.md gives the
reasons against independent draws.

Example i is in lane i mod 256. A language's quota is spread over the lanes as evenly as possible,
equally in every block, and only the order within a lane is shuffled. A large language can thus be
divided into parts: lane l reads only part l mod `parts`. Host h of H reads the lanes l = h (mod H)
and therefore 1/H of such a language, for H = 2, 4, ..., 256. docs/decisions/lanes.md gives the
reasons.
"""

import csv
import functools
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.errors import DataError
from data.languages import get
from data.numbers import hash_seed

BLOCK = 65_536
LANES = 256
STRIDE = 97  # odd; distributes a language's quota over the lanes, and so over the batches
SETTINGS = (
    "temperature:ALPHA (mT5: temperature:0.3), proportional, uniform, "
    "unimax:EPOCHS:CHARACTERS (umT5: unimax:1:4657152000000), weights:FILE"
)


class TextSizes(NamedTuple):
    """Amount of training text per language.

    Attributes:
        pages: number of pages of each language.
        characters: number of characters of the same languages.
    """

    pages: Mapping[str, int]
    characters: Mapping[str, int]


def parse(mixture: str, sizes: TextSizes) -> dict[str, float]:
    """Returns the weights of a setting.

    Raises:
        DataError: if the setting is unknown, or not possible with these sizes.
    """
    name, _, value = mixture.partition(":")
    match name, value.split(":") if value else []:
        case "temperature", [alpha]:
            return temperature_weights(sizes.pages, _number(alpha, mixture))
        case "proportional", []:
            return temperature_weights(sizes.pages, 1.0)
        case "uniform", []:
            return temperature_weights(sizes.pages, 0.0)
        case "unimax", [epochs, budget]:
            asked = _number(epochs, mixture), _number(budget, mixture)
            _check_budget(sizes.characters, *asked)
            return unimax_weights(sizes.characters, *asked)
        case "weights", _ if value:
            return _normalize(read_weights(Path(value), sizes.pages))
    raise _unknown(mixture)


def _check_budget(characters: Mapping[str, int], epochs: float, budget: float) -> None:
    """Checks that UniMax keeps its bound of epochs; weights of a larger budget would be sizes."""
    most = epochs * math.fsum(characters.values())
    if budget > most > 0:
        raise DataError(
            f"UniMax was asked for a budget of {budget:,.0f} characters, and {epochs:g} epochs of "
            f"the text are {math.floor(most):,}; give a smaller budget or more epochs."
        )


def weights_file(mixture: str) -> Path | None:
    """Returns the file that a setting reads, which is then one of the run's inputs."""
    name, _, value = mixture.partition(":")
    return Path(value) if name == "weights" and value else None


def temperature_weights(pages: Mapping[str, int], alpha: float) -> dict[str, float]:
    """Returns weights proportional to pages ** alpha, summing to 1.

    Raises:
        DataError: if a language has no pages, or the exponent is negative or NaN.
    """
    _check_sizes(pages, "page")
    if not alpha >= 0:  # NaN as well
        raise DataError(
            f"The mixture temperature:{alpha:g} was asked for; choose an exponent of at least 0 "
            "(0 is uniform). Below 0 the languages with the fewest pages would weigh most."
        )
    try:
        return _normalize({code: float(count) ** alpha for code, count in pages.items()})
    except OverflowError:
        raise DataError(
            f"The mixture raises numbers of pages to the power of {alpha:g}, which is beyond the "
            "numbers of a computer; choose an exponent nearer to 1."
        ) from None


def unimax_weights(
    characters: Mapping[str, int] | Mapping[str, float], epochs: float, budget: float
) -> dict[str, float]:
    """Returns UniMax's weights, summing to 1.

    The smallest language gets an equal share of the budget, or its text `epochs` times if that is
    less. The next one gets an equal share of the rest, and so on.

    Args:
        characters: size of each language.
        epochs: largest number of times that a language is read.
        budget: number of characters that the whole run reads.

    Raises:
        DataError: if a language has no text, or the epochs or the budget are not positive.
    """
    _check_sizes(characters, "character")
    if epochs <= 0 or budget <= 0:
        raise DataError(
            f"UniMax was asked for {epochs:g} epochs and {budget:g} characters; "
            "both must be above 0."
        )
    shares: dict[str, float] = {}
    left = budget
    for code in sorted(characters, key=lambda code: characters[code]):
        shares[code] = min(left / (len(characters) - len(shares)), characters[code] * epochs)
        left -= shares[code]
    return _normalize({code: shares[code] for code in characters})


def _check_sizes(sizes: Mapping[str, int] | Mapping[str, float], what: str) -> None:
    empty = [code for code, count in sizes.items() if not count > 0]
    if empty or not sizes:
        raise DataError(
            f"The mixture contains languages without a {what} "
            f"({', '.join(empty) or 'none at all'}); leave them out."
        )


def _normalize(weights: Mapping[str, float]) -> dict[str, float]:
    try:
        total = math.fsum(weights.values())
    except OverflowError:
        total = math.inf
    shares = {code: weight / total for code, weight in weights.items()} if total else {}
    if not (total < math.inf and min(shares.values(), default=0) > 0):
        raise DataError(
            f"The weights of the mixture go from {min(weights.values()):g} to "
            f"{max(weights.values()):g}, and their shares are beyond the numbers of a computer; "
            "choose an exponent nearer to 1, or weights that are nearer to each other."
        )
    return shares


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise _unknown(where, f", in which {text!r} is not a number") from error
    if not math.isfinite(number):
        raise _unknown(where, f", in which {text!r} is not a finite number")
    return number


def _unknown(mixture: str, reason: str = "") -> DataError:
    return DataError(f"Mixture {mixture!r} was asked for{reason}; there are {SETTINGS}.")


def read_weights(path: Path, pages: Mapping[str, int]) -> dict[str, float]:
    """Returns the weights in a user's file; languages that are not in it are not trained on.

    Args:
        path: the file.
        pages: number of training pages by language.

    Raises:
        DataError: if the file cannot be read, a weight is not positive, or a language is listed
            twice or has no pages.
    """
    lines = _weights_as_written(path)
    names: dict[str, list[str]] = defaultdict(list)
    for name, _ in lines:
        names[get(name).code].append(name)
    if twice := [f"{code} ({', '.join(same)})" for code, same in names.items() if len(same) > 1]:
        listed = ", ".join(twice)
        raise DataError(f"{path} gives {listed} more than one weight; leave one line of each.")
    weights = {get(name).code: _read_number(path, name, text) for name, text in lines}
    unusable = [code for code, weight in weights.items() if not weight > 0]
    if unusable or not weights:
        raise DataError(
            f"{path} gives no positive weight to {', '.join(unusable) or 'any language'}; "
            "leave out languages that are not trained on."
        )
    absent = [code for code in weights if pages.get(code, 0) < 1]
    if absent:
        raise DataError(
            f"{path} gives weights to {', '.join(absent)}, of which there is no training page; "
            "take them out of the file or add text."
        )
    return weights


def _weights_as_written(path: Path) -> list[tuple[str, str]]:
    """Returns languages and weights as they are written, in order."""
    if not path.is_file():
        raise DataError(
            f"The mixture reads weights from {path}, which is not a file; check the path."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("{"):
            # As pairs: a dict would silently keep the last of two weights.
            pairs = json.loads(text, object_pairs_hook=list)
            return [(code, str(value)) for code, value in pairs]
        rows = csv.reader(text.splitlines(), delimiter="\t")
        return [(code, value) for code, value in filter(None, rows)]
    except (ValueError, TypeError, RecursionError, csv.Error) as error:
        raise DataError(
            f'{path} should hold JSON such as {{"sw": 0.5}} or a language, a tab and a weight per '
            f"line, and does not ({error}); use one of these formats."
        ) from error


def _read_number(path: Path, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{path} gives {name} the weight {text!r}, which is not a finite number; correct it."
        )
    return number


class Draws(NamedTuple):
    """The language of each example, and its position among that language's examples.

    Attributes:
        languages: positions in `Schedule.languages`.
        parts: part of the language; 0 if it is not divided.
        ordinals: number of earlier examples of the same language and part.
    """

    languages: Int[np.ndarray, " examples"]
    parts: Int[np.ndarray, " examples"]
    ordinals: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class Schedule:
    """The language of every example.

    Attributes:
        languages: codes, in the order of `quotas`.
        quotas: number of examples of each language per block; they sum to 65,536.
        seed: seed of the order within blocks.
        parts: number of parts of each language, powers of two up to 256.
    """

    languages: tuple[str, ...]
    quotas: tuple[int, ...]
    seed: int
    parts: tuple[int, ...]

    def draw(self, indices: Int[np.ndarray, " examples"]) -> Draws:
        """Returns the languages of examples; fastest if the examples are in few blocks."""
        blocks, places = np.divmod(indices, BLOCK)
        drawn = Draws(*(np.empty_like(indices) for _ in Draws._fields))
        for block in np.unique(blocks).tolist():
            here = blocks == block
            for all_values, values in zip(drawn, _layout(self, block), strict=True):
                all_values[here] = values[places[here]]
        earlier_blocks = blocks * self.part_quotas[drawn.languages, drawn.parts]
        return drawn._replace(ordinals=earlier_blocks + drawn.ordinals)

    def drawn(self, examples: int) -> Int[np.ndarray, "languages lanes"]:
        """Returns how many of the first examples are of each language and part."""
        blocks, rest = divmod(examples, BLOCK)
        languages, parts, _ = _layout(self, blocks)
        cells = languages[:rest] * LANES + parts[:rest]
        counts = np.bincount(cells, minlength=len(self.quotas) * LANES).reshape(-1, LANES)
        return blocks * self.part_quotas + counts

    def share(self, language: str) -> float:
        """Returns the language's exact share of all examples."""
        return self.quotas[self.languages.index(language)] / BLOCK

    @cached_property
    def part_quotas(self) -> Int[np.ndarray, "languages lanes"]:
        """Number of examples of each language and part per block."""
        languages = self.unshuffled.reshape(-1)
        cells = languages * LANES + self._parts(languages)
        return np.bincount(cells, minlength=len(self.quotas) * LANES).reshape(-1, LANES)

    @cached_property
    def unshuffled(self) -> Int[np.ndarray, "rounds lanes"]:
        """Languages of a block before shuffling: a quota fills lanes 97 apart, round by round."""
        lanes = STRIDE * np.arange(LANES) % LANES
        unshuffled = np.empty((BLOCK // LANES, LANES), np.int64)
        languages = np.repeat(np.arange(len(self.quotas)), self.quotas)
        unshuffled[:, lanes] = languages.reshape(-1, LANES)
        return unshuffled

    def _parts(self, languages: Int[np.ndarray, " block"]) -> Int[np.ndarray, " block"]:
        return np.arange(BLOCK) % LANES % np.array(self.parts)[languages]


@functools.lru_cache(maxsize=4)
def _layout(schedule: Schedule, block: int) -> Draws:
    """Returns language and part of each example of a block, and its rank among those of both."""
    generator = np.random.Generator(np.random.Philox(hash_seed(schedule.seed, block)))
    languages = generator.permuted(schedule.unshuffled, axis=0).reshape(-1)
    parts = schedule._parts(languages)
    cells = languages * LANES + parts
    order = np.argsort(cells, kind="stable")
    ranks = np.empty(BLOCK, np.int64)
    ranks[order] = np.arange(BLOCK) - np.searchsorted(cells[order], cells[order])
    return Draws(languages, parts, ranks)


def make_schedule(weights: Mapping[str, float], seed: int) -> Schedule:
    """Returns the schedule of a mixture, with undivided languages.

    Args:
        weights: positive weight of each language, of any sum.
        seed: seed of the order.

    Raises:
        DataError: if there is no language, or a weight is too small for one example per block.
    """
    if not weights or min(weights.values()) <= 0:
        raise DataError(
            f"A mixture needs positive weights, found {dict(weights)}; leave out the rest."
        )
    shares = np.array(list(weights.values())) / math.fsum(weights.values())
    bounds = np.rint(np.concatenate([[0.0], np.cumsum(shares)]) * BLOCK).astype(np.int64)
    quotas = tuple(int(quota) for quota in np.diff(bounds))
    never = [code for code, quota in zip(weights, quotas, strict=True) if quota == 0]
    if never:
        raise DataError(
            f"The mixture gives {', '.join(never)} less than one example in {BLOCK}, which is "
            "none; leave them out or give them more weight, such as by temperature:ALPHA with a "
            "smaller ALPHA, or by unimax with more epochs."
        )
    return Schedule(tuple(weights), quotas, seed, (1,) * len(quotas))
