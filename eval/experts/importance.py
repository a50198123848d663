"""What the experts of a run are worth to some languages, from the routing file of an evaluation.

    importance = mean over the languages of (sum of an expert's gates / number of tokens)

The sum of gates is load times mean gate: how often an expert is used, and how much of its output
counts. Each language weighs the same, however many held-out tokens it has.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from data.errors import DataError
from eval.experts.sharing import WRITTEN


class ExpertUse(NamedTuple):
    """The use of each expert per token of the languages, encoder layers before decoder layers.

    Attributes:
        load: number of assignments per token.
        gate: sum of their gates per token, which is the expert's importance.
    """

    load: Float[np.ndarray, "layers experts"]
    gate: Float[np.ndarray, "layers experts"]


def expert_use(
    table: pa.Table,
    languages: Sequence[str],
    layers: Sequence[tuple[str, int]],
    experts: int,
    origin: str,
) -> ExpertUse:
    """Returns the mean use of the experts by languages.

    Args:
        table: a routing file, with gates.
        languages: codes of the languages.
        layers: stack and layer of each switch layer of the run's network.
        experts: number of experts in each of them.
        origin: name of the file, for messages.

    Raises:
        DataError: if a language has no held-out token in a layer, or the file is of another
            network.
    """
    rows = table.select(WRITTEN.names).to_pylist()
    places = dict.fromkeys((row["stack"], row["layer"]) for row in rows)
    if places.keys() not in (set(), set(layers)):
        raise DataError(
            f"{origin} should have the {len(layers)} switch layers of the run's network and has "
            f"{len(places)}, or others; evaluate the run again."
        )
    found = {
        (row["stack"], row["layer"], row["language"]): row for row in rows if row["tokens"] > 0
    }
    missing = [code for code in languages if any((*place, code) not in found for place in layers)]
    if missing:
        raise DataError(
            f"The experts of {', '.join(missing)} were asked for, and {origin} has no "
            f"tokens of {'it' if len(missing) == 1 else 'them'}; name languages with held-out "
            "pages, or evaluate such pages."
        )
    by_layer = [[found[*place, code] for code in languages] for place in layers]
    return ExpertUse(
        *(
            np.array([_mean(of_layer, name, experts, origin) for of_layer in by_layer])
            for name in ("load", "gate")
        )
    )


def _mean(
    rows: Sequence[dict[str, Any]], name: str, experts: int, origin: str
) -> Float[np.ndarray, " experts"]:
    sums = [np.array(row[name], np.float64) for row in rows]
    if not all(of.shape == (experts,) and np.isfinite(of).all() and min(of) >= 0 for of in sums):
        raise DataError(
            f"{origin} should have a number of at least 0 in {name} for each of the run's "
            f"{experts} experts and has not; evaluate the run again."
        )
    return np.mean([of / row["tokens"] for of, row in zip(sums, rows, strict=True)], axis=0)
