"""Archives with a part of another's records: the engines' tests run each job a dozen times."""

from pathlib import Path

from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter


def write_every(step: int, archives: Path, directory: Path) -> None:
    """Writes each WET file of a folder again, with every `step`-th of its records."""
    for path in sorted(archives.glob("*.warc.wet.gz")):
        with path.open("rb") as source, (directory / path.name).open("wb") as target:
            writer = WARCWriter(target, gzip=True)
            for number, record in enumerate(ArchiveIterator(source)):
                if number % step == 0:
                    writer.write_record(record)
