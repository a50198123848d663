"""A store of this machine that holds runs: `faulty_store`, with its folder for arrays too."""

from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest
from faulty_store import Store, at

from data.files import stores
from pipeline.runs import stored_arrays


def use_store(root: Path, patch: pytest.MonkeyPatch, **faults: tuple[str, int]) -> None:
    """Makes store:// the folder `root`, with faults, until the patch is undone."""
    fsspec.register_implementation("store", Store, clobber=True)
    for name, value in (("root", root), ("faults", faults), ("lasting", False)):
        patch.setattr(Store, name, value)
    patch.setattr(Store, "calls", Counter())
    for name in ("FIRST_WAIT_SECONDS", "LONGEST_WAIT_SECONDS"):
        patch.setattr(stores, name, 0.001)
    patch.setattr(stored_arrays, "kvstore", _folder)


def _folder(address: str) -> dict[str, Any]:
    return {"driver": "file", "path": f"{at(address)}/"}
