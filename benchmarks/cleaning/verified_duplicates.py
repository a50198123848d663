"""Verified near-duplicates beside datatrove's: what is removed, whether rightly, and its CPU time.

    python benchmarks/cleaning/verified_duplicates.py [--web ../shared/data/web]

Two materials, in the languages that datatrove takes here (`near_duplicates.datatroves`): web pages,
each with a copy in which up to 6 % of the words are others; and planted chains, templates, excerpts
and copies (`tests/helpers/planted_pages.py`). Similarity is Jaccard's, of the shingles on which
`mswitch` decides.

datatrove removes all but one page of a cluster of shared bands. Of each page that it removes, by
similarity to the page that it keeps for it: `removed` by datatrove, and how many of these pairs
`mswitch` does `not keep both` of. A page removed below 0.8 is not a duplicate unless contained.

CPU time per page, one thread: the signatures alone, and with all that verification adds (shingles
of candidate pages, groups, choice), on the web pages as they are and with a copy of each.

Needs the environment of `make parity`; elsewhere it prints that and stops.
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # before rensa: one thread per side

import argparse
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import near_duplicates
import numpy as np

from data.dedup.minhash import BANDS, band_keys, edges, shingle_length, shingles_of
from data.dedup.near_duplicates import candidates_of, pack, representatives
from data.languages import all_languages

sys.path.append(str(Path(__file__).parents[2] / "tests/helpers"))
from clusters_in_memory import clusters
from planted_pages import PlantedPages

RESULT = Path(__file__).parents[1] / "results/verified_duplicates.json"
LEVELS = {"below_0.8": (0, 0.8), "0.8_to_0.85": (0.8, 0.85), "from_0.85": (0.85, 1.01)}
ROUNDS, PLANTED, CONTAINED = 3, 1, 0.95
Texts = dict[str, list[str]]
Stands = dict[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--web", type=Path, default=Path("../shared/data/web"))
    files = sorted(parser.parse_args().web.glob("*.warc.wet.gz"))
    if importlib.util.find_spec("datatrove") is None or not files:
        print(f"needs datatrove (.venv-parity/bin/python {__file__}) and web pages (--web)")
        return
    web = near_duplicates.pages(files)
    codes = [one.code for one in all_languages() if not one.is_script_variant]
    theirs, left_out = near_duplicates.datatroves(codes)
    web = {code: some for code, some in web.items() if code not in left_out}
    planted = {code: planted_pages(code) for code in codes if code not in left_out}
    copied = {code: with_copies(some) for code, some in web.items()}
    result = {
        "languages": {"web": list(web), "planted": list(planted), "left_out": left_out},
        "web_with_copies": compared(copied, theirs),
        "planted": compared(planted, theirs),
        "cpu": {"web": cpu(web), "web_with_copies": cpu(copied)},
        "datatrove_signatures_cpu_milliseconds_per_page": milliseconds(
            lambda: signatures(web, theirs), web, rounds=1
        ),
    }
    ours = result["cpu"]["web"]["verified_milliseconds_per_page"]
    result["times_faster_than_datatroves_signatures"] = (
        result["datatrove_signatures_cpu_milliseconds_per_page"] / ours
    )
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def planted_pages(code: str) -> list[str]:
    return [page for seed in range(PLANTED) for page in PlantedPages(code, seed).all_families()]


def with_copies(texts: list[str]) -> list[str]:
    """Returns pages and a copy of each, with up to 6 % of the words changed."""
    generator = np.random.default_rng(1)
    copies = []
    for text in texts:
        words = np.array(text.split(" "), object)
        words[generator.random(len(words)) < 0.06 * generator.random()] = "xyz"
        copies.append(" ".join(words))
    return [*texts, *copies]


def compared(texts: Texts, theirs: near_duplicates.Bands) -> dict[str, Any]:
    """Returns what both remove, by similarity; and every removal of ours that is not right."""
    levels = {level: {"removed": 0, "contained": 0, "not_keep_both": 0} for level in LEVELS}
    counts = {"pages": sum(map(len, texts.values())), "mswitch_removed": 0, "mswitch_false": 0}
    for code, some in texts.items():
        sets = shingle_sets(some, code)
        ours = verified(some, code)
        removed = {page: kept for page, kept in ours.items() if page != kept}
        counts["mswitch_removed"] += len(removed)
        counts["mswitch_false"] += sum(
            similarity(sets[page], sets[kept]) < 0.8
            and contained(sets[page], sets[kept]) < CONTAINED
            for page, kept in removed.items()
        )
        for page, kept in by_bands(theirs(some, code)).items():
            if page != kept:
                found = levels[level_of(similarity(sets[page], sets[kept]))]
                found["removed"] += 1
                found["contained"] += contained(sets[page], sets[kept]) >= CONTAINED
                found["not_keep_both"] += page in removed or kept in removed
    return counts | {"datatrove_by_similarity": levels}


def shingle_sets(texts: list[str], code: str) -> list[set[int]]:
    hashes, offsets = shingles_of(texts, shingle_length(code))
    return [set(part.tolist()) for part in np.split(hashes, offsets[1:-1].astype(int))]


def similarity(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def contained(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one) if one else 1.0


def level_of(value: float) -> str:
    return next(level for level, (low, high) in LEVELS.items() if low <= value < high)


def by_bands(bands: np.ndarray) -> Stands:
    """Returns the first page of each page's cluster of shared bands."""
    bands = bands.reshape(len(bands), BANDS, -1)
    numbers = np.arange(len(bands), dtype=np.uint64)
    keys = [np.unique(bands[:, band], axis=0, return_inverse=True)[1] for band in range(BANDS)]
    keys = np.stack([band * len(bands) + key.ravel() for band, key in enumerate(keys)], axis=1)
    found = clusters(edges(keys.astype(np.uint64).ravel(), np.repeat(numbers, BANDS)))
    return dict(zip(found.page.tolist(), found.representative.tolist(), strict=True))


def verified(texts: list[str], code: str) -> Stands:
    """Returns the page that stands for each page that shares a band with another."""
    numbers = np.arange(len(texts), dtype=np.uint64)
    found = clusters(edges(band_keys(texts, code).ravel(), np.repeat(numbers, BANDS)))
    some = [texts[page] for page in found.page.tolist()]
    element = pack(candidates_of(some, code, found.representative, found.page, found.page))
    chosen = representatives([element])
    return dict(zip(chosen.page.tolist(), chosen.representative.tolist(), strict=True))


def cpu(texts: Texts) -> dict[str, float]:
    """CPU milliseconds per page of the signatures and of all, taking turns; and the ratio."""
    once = [
        (
            milliseconds(lambda: signatures(texts, band_keys), texts, rounds=1),
            milliseconds(lambda: [verified(some, code) for code, some in texts.items()], texts, 1),
        )
        for _ in range(ROUNDS)
    ]
    candidates = sum(len(verified(some, code)) for code, some in texts.items())
    return {
        "candidate_pages_share": candidates / sum(map(len, texts.values())),
        "signatures_milliseconds_per_page": statistics.median(alone for alone, _ in once),
        "verified_milliseconds_per_page": statistics.median(both for _, both in once),
        "ratio": statistics.median(both / alone for alone, both in once),
    }


def signatures(texts: Texts, make: near_duplicates.Bands) -> None:
    for code, some in texts.items():
        make(some, code)


def milliseconds(run: Any, texts: Texts, rounds: int) -> float:
    started = time.process_time()
    for _ in range(rounds):
        run()
    return 1000 * (time.process_time() - started) / rounds / sum(map(len, texts.values()))


if __name__ == "__main__":
    main()
