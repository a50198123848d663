"""The code that runs, for whoever repeats a run: a checkout's commit or a wheel's digest."""

import json
import subprocess
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def source_commit() -> str | None:
    """Returns the commit of the checkout, ending in `-dirty` if files differ from it.

    For a wheel that was installed from a file it is the file's digest, which pip records (PEP 610).
    None for a package of an index, whose version identifies it, and where Git is missing.
    """
    if not (CHECKOUT / ".git").exists():
        return _wheel_digest(metadata.distribution("mswitch").read_text("direct_url.json"))
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=40"]
    command.append("--exclude=*")  # tags would shorten it to a name that may be moved
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _wheel_digest(direct_url: str | None) -> str | None:
    hashes = json.loads(direct_url or "{}").get("archive_info", {}).get("hashes", {})
    return f"wheel sha256:{hashes['sha256']}" if "sha256" in hashes else None
