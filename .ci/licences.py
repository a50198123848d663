"""Checks that every locked package that is installed here has a permissive licence.

    python .ci/licences.py

Licences are read from the packages' own metadata: the SPDX expression, else the classifiers, else
the field "License". A package without any of them, or with another licence, must stand in
EXCEPTIONS with the reason. Prints one line per finding and exits with 1, or exits with 0 where
there is none.
"""

import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
PERMISSIVE = re.compile(
    r"Apache|MIT\b|BSD|ISC\b|PSF|Python Software Foundation|CNRI-Python|Zlib|CC0|AFL"
    r"|MPL|Mozilla",  # copyleft of single files, which are used as they are
    re.IGNORECASE,
)
EXCEPTIONS = {
    "gfmetadata": "Apache-2.0 in its file LICENSE",
    "gflanguages": "Apache-2.0 in its file LICENSE.txt",
    "libtpu": "Google Cloud's terms; extra plan only, never part of what is distributed",
    "namex": "Apache-2.0 in its file LICENSE",
    "nvidia-cuda-nvcc-cu12": "NVIDIA's terms; extra plan-gpu only, never distributed",
    "nvidia-cuda-runtime-cu12": "NVIDIA's terms; extra plan-gpu only, never distributed",
    "python-stdnum": "LGPL-2.1-or-later: imported as it is, and anyone may exchange it",
    "sentencepiece": "Apache-2.0 in its repository",
}


def main() -> int:
    """Prints the findings; returns the exit status."""
    locked = set(re.findall(r"^([\w.-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    installed = {_normal(one.name): one for one in distributions()}
    checked = {name: licence(installed[name]) for name in sorted(locked & installed.keys())}
    found = [
        f"{name}: {text or 'no licence in its metadata'}"
        for name, text in checked.items()
        if name not in EXCEPTIONS and not is_permissive(text)
    ]
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(checked)} packages, {len(found)} without a permissive licence.", file=sys.stderr)
    return bool(found)


def licence(distribution: Distribution) -> str:
    """Returns the licence that a package's metadata names; "" if it names none."""
    metadata = distribution.metadata
    classifiers = (one for one in metadata.get_all("Classifier") or () if one.startswith("Licen"))
    named = [one.rpartition(" :: ")[2] for one in classifiers if one.count(" :: ") > 1]
    field = (metadata.get("License") or "").strip().partition("\n")[0]
    return metadata.get("License-Expression") or "; ".join(named) or field


def is_permissive(text: str) -> bool:
    """Returns whether every licence of an expression is permissive."""
    parts = re.split(r" AND | OR |;", text.replace("(", "").replace(")", ""))
    return all(PERMISSIVE.search(part) for part in parts)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
