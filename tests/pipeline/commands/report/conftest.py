"""What tests of `mswitch report` ask for."""

import pytest

from pipeline.commands.report import Report


@pytest.fixture
def asked(finished, tmp_path, monkeypatch):
    """A report of two seeds per side, without its page, which takes seconds."""
    monkeypatch.setattr("eval.report.html.to_html", lambda _: "-" * 2000)
    return Report(
        baseline=(finished / "dense0", finished / "dense1"),
        candidate=(finished / "switch0", finished / "switch1"),
        out=tmp_path / "out",
    )
