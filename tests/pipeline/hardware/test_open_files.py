"""The soft limit of open files rises to the hard one, and no further than `MOST`."""

import pytest

from pipeline.hardware import open_files
from pipeline.hardware.open_files import MOST, allow_open_files

NONE = open_files.resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1024, 4096, [(4096, 4096)]),
        (1024, NONE, [(MOST, NONE)]),
        (4096, 4096, []),
        (NONE, NONE, []),
    ],
)
def test_the_limit_rises_to_what_is_allowed(monkeypatch, soft, hard, expected):
    asked = []
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda _, limits: asked.append(limits))
    allow_open_files()
    assert asked == expected
