"""The commit of the code that runs, for whoever wants to repeat a run."""

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def source_commit() -> str | None:
    """Returns the commit of the checkout, ending in `-dirty` if files differ from it.

    None for an installed package, whose version identifies it, and where Git is missing.
    """
    if not (CHECKOUT / ".git").exists():
        return None
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=40"]
    command.append("--exclude=*")  # tags would shorten it to a name that may be moved
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
