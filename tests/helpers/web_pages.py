"""The web pages that cleaning is tested on: a small WET in every clone, and a crawl beside it.

`ARCHIVES` always holds "small": 58 pages in 12 languages with damage and duplicates of every kind
(tests/fixture). Where ../shared/data lies beside the checkout, the same tests read its crawl too.
"""

from pathlib import Path

from data.reading.page import Page
from data.reading.web_archive import read

ROOT = Path(__file__).parents[2]
BESIDE = ROOT.parent / "shared/data"
SMALL = tuple(sorted((ROOT / "tests/fixture/web").glob("*.warc.wet.gz")))
CRAWL = BESIDE / "web/MSWITCH-DOCS-2026-11-00000.warc.wet.gz"
ARCHIVES = {"small": SMALL} | ({"crawl": (CRAWL,)} if CRAWL.exists() else {})


def pages_in(archives: tuple[Path, ...]) -> list[Page]:
    """Returns the pages of WET files, in order."""
    return [one for path in archives for one in read(path) if isinstance(one, Page)]
