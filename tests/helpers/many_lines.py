"""JSON Lines of which `clean` shuffles more bytes than an engine's heap has: pages of short lines.

Rules judge pages, not lines, so a page of 184,000 characters in 23,000 lines costs little more than
another. Every short line is on two pages, which lie in different files. So it is claimed twice, in
20 bytes, and the page whose address has the smaller MD5 keeps it.

    page n           both halves of the lines of n
    page pages + n   the first half of the lines of n, the second half of those of n + 1
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from data.demo import shipped_pages

CLAIM_BYTES = 20  # pipeline.corpus.lines.CLAIM
HALF_A_PAGE = 11_500  # lines; 190,000 characters are too many
PAGES_OF_FILE = 80  # 15 MB
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)  # five bits each
LETTERS_OF_LINE = 7
LONG_LINES, LONG = 3, 200  # what mc4 asks of a page


def write(directory: Path, megabytes: int) -> dict[str, str]:
    """Writes pages whose lines are claimed in so many megabytes.

    Returns:
        The digest of the text that `clean` leaves of each page, by address.
    """
    pages = -(-megabytes * 1_000_000 // (CLAIM_BYTES * HALF_A_PAGE * 4))
    texts = [one for page in shipped_pages() if len(one := page.text.replace("\n", " ")) > LONG]
    left = {}
    for first in range(0, 2 * pages, PAGES_OF_FILE):
        with (directory / f"{first:06d}.jsonl").open("w", encoding="utf-8") as file:
            for page in range(first, min(first + PAGES_OF_FILE, 2 * pages)):
                whole = [f"{texts[page % len(texts)][:400]} {page} {n}" for n in range(LONG_LINES)]
                parts = [(_lines(half), _keeps(page, half, pages)) for half in _halves(page, pages)]
                text = "\n".join([*whole, *(lines for lines, _ in parts)])
                date = "2026-01-01T00:00:00Z"
                file.write(json.dumps({"url": url(page), "timestamp": date, "text": text}) + "\n")
                left[url(page)] = digest(
                    "\n".join([*whole, *(one for one, keeps in parts if keeps)])
                )
    return left


def url(page: int) -> str:
    return f"https://{page}.example/"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _halves(page: int, pages: int) -> tuple[int, int]:
    """Returns the numbers of the two halves that a page has: 2n and 2n + 1 are those of page n."""
    if page < pages:
        return 2 * page, 2 * page + 1
    return 2 * (page - pages), 2 * ((page - pages + 1) % pages) + 1


def _keeps(page: int, half: int, pages: int) -> bool:
    """Returns whether the page keeps the half, which one other page has."""
    number, second = divmod(half, 2)
    both = number, pages + (number - second) % pages
    return page == min(both, key=lambda one: hashlib.md5(url(one).encode()).digest())


def _lines(half: int) -> str:
    """Returns the lines of a half; no two lines of all halves are equal."""
    numbers = np.arange(half * HALF_A_PAGE, (half + 1) * HALF_A_PAGE, dtype=np.uint64)
    # An odd factor: no two have the same lowest bits.
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    text = np.full((HALF_A_PAGE, LETTERS_OF_LINE + 1), ord("\n"), np.uint8)
    for place in range(LETTERS_OF_LINE):
        text[:, place] = LETTERS[(mixed >> np.uint64(5 * place)).astype(np.uint8) & 31]
    return text.tobytes().decode()[:-1]
