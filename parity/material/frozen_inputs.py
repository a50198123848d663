"""The inputs of the comparison with the reference, pinned by digest in `inputs.sha256`.

No change of a reader, and none of the material, may alter what is compared without a word:
`parity/c4.py` and `make test` both refuse inputs of other content. Nothing of the readers under
comparison is imported. A file that this folder writes has the digest of its uncompressed content,
as builds of zlib differ in the compressed one.
"""

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

PINNED = Path(__file__).with_name("inputs.sha256")
WRITTEN_HERE = ("hand_made.warc.wet.gz",)


def changed(files: Iterable[Path]) -> list[str]:
    """Returns the names of the files whose content is not the pinned one.

    A copy without its unreadable records is pinned apart, as `readable/NAME`.
    """
    lines = PINNED.read_text(encoding="ascii").splitlines()
    digest_of = {name: digest for digest, name in map(str.split, lines)}
    return [_name(path) for path in files if digest_of.get(_name(path)) != _sha256(path)]


def _name(path: Path) -> str:
    return f"readable/{path.name}" if path.parent.name == "readable" else path.name


def _sha256(path: Path) -> str:
    content = path.read_bytes()
    if path.name in WRITTEN_HERE:
        content = gzip.decompress(content)
    return hashlib.sha256(content).hexdigest()
