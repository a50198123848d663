"""Addresses in object stores, put together as paths are.

`pathlib` would make `s3:/bucket` of `s3://bucket`. So what may lie on this machine or in a store is
a `Place`: a `Path`, or an `Address` with those of its operations that need no look at the store.
Looks are in `files`, which takes both.
"""

from pathlib import Path


class Address(str):
    """An address such as `s3://bucket/runs/switch`."""

    __slots__ = ()

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Address":
        """The address without its last part; a bucket's is the bucket itself."""
        above = self.rstrip("/").rpartition("/")[0]
        return self if above.endswith(":/") else Address(above)

    def with_name(self, name: str) -> "Address":
        """Returns the address with another last part."""
        return self.parent / name


Place = Path | Address


def place(text: str | Path) -> Place:
    """Returns where a path or an address leads."""
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    return Address(text.rstrip("/"))
