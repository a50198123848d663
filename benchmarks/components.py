"""Connected components in rounds: 1 to 10 million edges, with the same edges per partition.

    python benchmarks/components.py

Edges are those of pages that share keys: clusters of 2 to 8 pages, one chain of a tenth of all
pages, and one star of a tenth. Reported per size: rounds, and the most that any partition holds or
gets, in edges and in proposals. These are bounded where they do not grow with the input. The labels
are compared with SciPy's components.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from data.dedup.clusters import clusters
from data.dedup.components import Moves, contracted, moved, pointers, proposals
from data.splitmix64 import splitmix64

RESULT = Path(__file__).parent / "results/components.json"
PARTITION = 62_500  # edges
SIZES = (1_000_000, 2_000_000, 5_000_000, 10_000_000)


def main() -> None:
    result = {"edges_per_partition": PARTITION, "sizes": [measured(size) for size in SIZES]}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def graph(count: int) -> np.ndarray:
    """Returns about `count` edges, mixed."""
    generator = np.random.default_rng(1)
    tenth, first = count // 10, 0
    chain = np.stack((np.arange(tenth), np.arange(tenth) + 1), axis=1)
    first += tenth + 1
    star = np.stack((np.full(tenth, first), first + 1 + np.arange(tenth)), axis=1)
    first += tenth + 1
    others = np.arange(count - 2 * tenth)
    head = first + others - others % 8
    small = np.stack((head, np.maximum(first + others, head) + 1), axis=1)[others % 8 < 7]
    edges = np.concatenate((chain, star, small))
    return splitmix64(generator.permutation(edges).astype(np.uint64))


def measured(count: int) -> dict[str, Any]:
    whole = graph(count)
    number = -(-len(whole) // PARTITION)
    parts = [part.copy() for part in np.array_split(whole, number)]
    nodes = np.unique(whole)
    labels, rounds, started = nodes, 0, time.process_time()
    most = {"edges": 0, "proposals_sent": 0, "proposals_received": 0}
    while any(map(len, parts)):
        proposed = [proposals(part, rounds) for part in parts]
        owners = [(one.node % np.uint64(number)).astype(int) for one in proposed]
        received = np.sum([np.bincount(owner, minlength=number) for owner in owners], axis=0)
        for name, value in zip(
            most, (max(map(len, parts)), max(map(len, owners)), received.max()), strict=True
        ):
            most[name] = max(most[name], int(value))
        moves = united([pointers(split, rounds) for split in by_owner(proposed, owners, number)])
        parts = [contracted(part, moves) for part in parts]
        labels, rounds = moved(labels, moves), rounds + 1
    seconds = time.process_time() - started
    check(whole, nodes, labels)
    return {
        "edges": len(whole),
        "pages": len(nodes),
        "partitions": number,
        "rounds": rounds,
        "most_in_one_partition": most,
        "cpu_seconds": round(seconds, 1),
    }


def by_owner(proposed: list[Moves], owners: list[np.ndarray], number: int) -> list[list[Moves]]:
    """Returns the proposals that each partition of nodes gets."""
    received: list[list[Moves]] = [[] for _ in range(number)]
    for one, owner in zip(proposed, owners, strict=True):
        order = np.argsort(owner, kind="stable")
        cuts = np.searchsorted(owner[order], np.arange(1, number))
        for place, rows in enumerate(np.split(order, cuts)):
            received[place].append(Moves(one.node[rows], one.to[rows]))
    return received


def united(parts: list[Moves]) -> Moves:
    node, to = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(node)
    return Moves(node[order], to[order])


def check(edges: np.ndarray, nodes: np.ndarray, labels: np.ndarray) -> None:
    found = clusters(edges)
    assert (found.page == nodes).all()
    (ours, label), (theirs, component) = (
        np.unique(some, return_inverse=True) for some in (labels, found.representative)
    )
    assert len(ours) == len(theirs) == len(np.unique(label * len(theirs) + component))


if __name__ == "__main__":
    main()
