"""Pages that meet each other (versions, copies, shared lines), and archives of them."""

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from web_pages import SMALL as SMALL_WEB
from web_pages import pages_in

from data.demo import member_of, shipped_pages
from data.reading.page import Page
from pipeline.corpus.read import Cut

SMALL = Cut(shard_bytes=30_000, chunk_characters=30_000, partition_bytes=60_000)
LANGUAGES = ("sw", "en", "es")
DAMAGE = b"\x00\x01 between records \xff\n" * 9


def meeting_pages(seed: int, count: int) -> list[Page]:
    """Returns pages of which many meet others, in a random order."""
    draw = random.Random(seed)
    shipped = [page for page in shipped_pages() if page.declared_language in LANGUAGES]
    written = _written(draw, shipped, count // 4)
    pages = (
        written + draw.sample(shipped, count // 8) + draw.sample(pages_in(SMALL_WEB), count // 8)
    )
    pages = [page._replace(timestamp=str(draw.randrange(2001, 2020))) for page in pages]
    for _ in range(count // 2):
        pages.append(_meeting(draw, draw.choice(written), draw.choice(pages)))
    draw.shuffle(pages)
    return pages


def replaced_pages(seed: int) -> tuple[list[Page], list[Page]]:
    """Returns pages with a longer copy of each, and newer versions of the copies with other text.

    As long as the copies stand for them, the pages are near-duplicates, or have no line left.
    """
    draw = random.Random(seed)
    some = _written(draw, [*shipped_pages()], 8)
    pages = [page._replace(url=f"{page.url}page", timestamp="2020") for page in some[:4]]
    copies = [
        page._replace(url=f"https://copy-{number}.example/", text=f"{page.text}\n{other.text}")
        for number, (page, other) in enumerate(zip(pages, some[4:], strict=True))
    ]
    newer = [
        copy._replace(timestamp="2021", text=other.text)
        for copy, other in zip(copies, some[4:], strict=True)
    ]
    return pages + copies, newer


def _written(draw: random.Random, shipped: Sequence[Page], count: int) -> list[Page]:
    """Returns pages of long lines, of words of one language each, that every rule set keeps."""
    words = {
        code: [w for page in shipped if page.declared_language == code for w in page.text.split()]
        for code in LANGUAGES
    }
    return [
        Page(
            url=f"https://{number}.example/",
            text="\n".join(" ".join(draw.choices(words[code], k=45)) + "." for _ in range(6)),
        )
        for number in range(count)
        for code in [draw.choice(LANGUAGES)]
    ]


def _meeting(draw: random.Random, page: Page, other: Page) -> Page:
    lines, url = page.text.split("\n"), f"https://{draw.randrange(10**9)}.example/"
    match draw.randrange(6):
        case 0:  # another version of the address, perhaps with another outcome
            return page._replace(
                text=draw.choice([page.text, other.text, "too short"]),
                timestamp=str(draw.randrange(2001, 2020)),
                url=page.url.replace("https://", "http://www."),
            )
        case 1:  # an equal page
            return page._replace(url=url)
        case 2:  # a similar page, larger or smaller
            return page._replace(url=url, text="\n".join(lines[: max(1, len(lines) - 1)]))
        case 3:  # lines of two pages
            both = lines + other.text.split("\n")
            return page._replace(
                url=url, text="\n".join(draw.sample(both, len(both) * 2 // 3 or 1))
            )
        case 4:
            return page._replace(url=url, text=page.text.upper())
        case _:
            return Page(url=url, text="Home | Contact\n" * 5, timestamp="2005")


def write_archives(directory: Path, pages: Sequence[Page], files: int) -> str:
    """Writes archives, one with damage; returns the glob that names them."""
    directory.mkdir(parents=True)
    for number in range(files):
        content = b"".join(map(member_of, pages[number::files])) + DAMAGE * (number == 0)
        (directory / f"{number}.warc.wet.gz").write_bytes(content)
    return f"{directory}/*.warc.wet.gz"


def rows_of(directory: Path, splits: bool = True) -> list[tuple]:
    """Returns all rows below a directory with the folder of each, sorted; perhaps without split."""
    return sorted(
        (path.parent.name, *(str(row[name]) for name in row if splits or name != "split"))
        for path in directory.rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    )
