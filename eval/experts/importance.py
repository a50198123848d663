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


def expert_use(table: pa.Table, languages: Sequence[str], origin: str) -> ExpertUse:
    """Returns the mean use of the experts by languages.

    Args:
        table: a routing file, with gates.
        languages: codes of the languages.
        origin: name of the file, for messages.

    Raises:
        DataError: if a language has no held-out token in a layer.
    """
    rows = table.select(WRITTEN.names).to_pylist()
    places = dict.fromkeys((row["stack"], row["layer"]) for row in rows)
    found = {
        (row["stack"], row["layer"], row["language"]): row for row in rows if row["tokens"] > 0
    }
    missing = [code for code in languages if any((*place, code) not in found for place in places)]
    if missing or not rows:
        raise DataError(
            f"The experts of {', '.join(missing or languages)} were asked for, and {origin} has no "
            f"tokens of {'it' if len(missing) == 1 else 'them'}; name languages with held-out "
            "pages, or evaluate such pages."
        )
    layers = [[found[*place, code] for code in languages] for place in places]
    return ExpertUse(
        *(np.array([_mean(layer, name) for layer in layers]) for name in ("load", "gate"))
    )


def _mean(rows: Sequence[dict[str, Any]], name: str) -> Float[np.ndarray, " experts"]:
    return np.mean([np.array(row[name], np.float64) / row["tokens"] for row in rows], axis=0)
