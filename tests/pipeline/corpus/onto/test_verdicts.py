"""Which pages of the base corpus are judged again."""

import numpy as np
import pytest

from pipeline.corpus.judgements import CLUSTER_SIZES
from pipeline.corpus.lines import CLAIMED
from pipeline.corpus.onto.verdicts import Verdicts, changed_rows
from pipeline.corpus.spills import ROW

ANSWERS = {
    ROW: np.array([0, 1, 2], np.uint32),
    "identified_language": np.array(["sw", "sw", "sw"], object),
    "language_probability": np.array([0.51, 0.51, 0.9]),
}


def verdicts(threshold, duplicates):
    """Returns verdicts on three pages in Swahili: one threshold, and pages with newer versions."""
    none = {name: np.empty(0, np.uint32) for name in (*CLUSTER_SIZES.names, *CLAIMED.names)}
    rows = np.array(duplicates, np.uint32)
    return Verdicts(rows, {"sw": threshold}, none[ROW], none, none, none[ROW])


@pytest.mark.parametrize(
    ("newer_before", "newer_now", "changed"),
    [([], [], [0, 1]), ([0], [0], [1]), ([0], [0, 1, 2], [1, 2])],
)
def test_a_page_has_changed_whose_language_moves_or_of_which_a_newer_version_came(
    newer_before, newer_now, changed
):
    found = changed_rows(verdicts(0.50, newer_before), verdicts(0.52, newer_now), ANSWERS)
    assert found.tolist() == changed
