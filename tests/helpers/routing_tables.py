"""Routing files of two switch layers, with a load per language."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from eval.experts import ExpertSharing, expert_sharing

LOADS = {"sw": [8, 0], "yo": [6, 2], "zh": [0, 8]}


def routing_table(loads: Mapping[str, Sequence[int]] = LOADS) -> pa.Table:
    """Returns the rows of layer 2 of encoder and decoder."""
    rows = [
        {
            "stack": stack,
            "layer": 2,
            "language": code,
            "tokens": sum(load),
            "choices": sum(load),
            "dropped": load[0] // 2,
            "entropy_nats": 0.5 * sum(load),
            "load": load,
        }
        for stack in ("encoder", "decoder")
        for code, load in loads.items()
    ]
    return pa.Table.from_pylist(rows)


def sharing(loads: Mapping[str, Sequence[int]] = LOADS) -> ExpertSharing:
    """Returns the shares of these rows."""
    return expert_sharing(routing_table(loads), run="Switch, seed 0", step=7, origin="here")
