"""`mswitch` with small work items in `clean`: as many as a cluster makes of terabytes.

Where COUNTERS names a file, the job's counters are written there: all values observed during the
job, and last the final ones. With QUICK_RETRIES, requests to a store are repeated after at most a
second.
"""

import functools
import json
import os
import threading
from collections import Counter
from pathlib import Path

from data.files import stores

if "QUICK_RETRIES" in os.environ:  # before `kvstore` reads them for TensorStore
    stores.FIRST_WAIT_SECONDS, stores.LONGEST_WAIT_SECONDS = 0.1, 1.0

from pipeline import cli

PIECES = {"shard_bytes": 250_000, "chunk_characters": 300_000, "partition_bytes": 600_000}
SECONDS_BETWEEN_LOOKS = 0.2


def main() -> None:
    from pipeline.corpus import clean
    from pipeline.corpus.read import Cut

    clean.cleaning = functools.partial(clean.cleaning, cut=Cut(**PIECES))
    if "COUNTERS" in os.environ:
        clean.run_job = functools.partial(noted, clean.run_job)
    cli.main()


def noted(run_job, job, options, follow) -> None:
    """Runs a job and records its counters, summed over its graphs."""
    from pipeline.beam.job import counters

    ended: Counter[str] = Counter()
    seen: list[dict[str, int]] = []

    def follow_and_note(graph) -> None:
        follow(graph)
        graph.run = functools.partial(run_and_note, graph, graph.run)

    def run_and_note(graph, run):
        graph.result = result = run()
        end = threading.Thread(target=result.wait_until_finish)
        end.start()
        while end.is_alive():
            seen.append(dict(ended + Counter(counters(result))))
            end.join(SECONDS_BETWEEN_LOOKS)
        ended.update(counters(result))
        seen.append(dict(ended))
        Path(os.environ["COUNTERS"]).write_text(json.dumps(seen))
        return result

    run_job(job, options, follow_and_note)


if __name__ == "__main__":
    main()
