"""`mswitch` with small work items and a fault of the environment variables that are set.

FAULTY_STORE  folder behind store://; STORE_FAULTS: JSON {"put": ["fail", 3], ...}, LASTING
CLOCK         seed of a wall clock that jumps by up to a year at every look
"""

import functools
import json
import os
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]
PIECES = {"shard_bytes": 60_000, "chunk_characters": 100_000, "partition_bytes": 100_000}
YEAR_SECONDS = 365 * 86_400


def jump(seed: str) -> None:
    """Replaces the wall clock by one that jumps; the monotonic clock goes on."""
    now, draw = time.time, random.Random(seed)

    def jumped() -> float:
        return now() + draw.uniform(-YEAR_SECONDS, YEAR_SECONDS)

    time.time = jumped
    time.time_ns = lambda: int(jumped() * 1e9)


def use_faulty_store(folder: str) -> None:
    import faulty_store

    from data.files import stores

    faults = json.loads(os.environ.get("STORE_FAULTS", "{}"))
    faulty_store.use(Path(folder), faults, lasting="LASTING" in os.environ)
    stores.FIRST_WAIT_SECONDS = stores.LONGEST_WAIT_SECONDS = 0.01


def main() -> None:
    from pipeline import cli

    if sys.argv[1] == "clean":
        from pipeline.corpus import clean
        from pipeline.corpus.read import Cut

        clean.cleaning = functools.partial(clean.cleaning, cut=Cut(**PIECES))
    if "FAULTY_STORE" in os.environ:
        use_faulty_store(os.environ["FAULTY_STORE"])
    if "CLOCK" in os.environ:
        jump(os.environ["CLOCK"])
    cli.main()


if __name__ == "__main__":
    main()
