"""Programs as XLA prints them, shortened: files of `tests/pipeline/planning/hlo/programs`."""

from pathlib import Path

PROGRAMS = Path(__file__).parents[1] / "pipeline/planning/hlo/programs"


def program_text(name: str) -> str:
    """Returns the text of a program."""
    return (PROGRAMS / f"{name}.hlo").read_text(encoding="utf-8")
