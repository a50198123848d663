"""README's way for one's own text, run as written there: from JSON Lines to a report.

    python .ci/own_text.py DIR

The text is what the demo's packages ship, in two languages, as records without an address. Each
`pretrain` makes a fifth of its recipe's steps: this checks the commands, and the demo trains whole.
"""

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADING = "## Your own text, on two cores"
LANGUAGES = ("cs", "fr")
FEWER = {"pretrain": ["--set", "steps=120"]}  # with two evaluations and one checkpoint


def commands() -> list[list[str]]:
    """Returns the words of each command below README's heading."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition(HEADING)[2].partition("\n## ")[0]
    return [shlex.split(line) for line in re.findall(r"^    (mswitch .+)$", section, re.MULTILINE)]


def write_texts(directory: Path) -> None:
    """Writes one file per language into `directory/texts`."""
    from data.demo import shipped_pages

    (directory / "texts").mkdir(parents=True)
    pages = list(shipped_pages())
    for code in LANGUAGES:
        texts = (page.text for page in pages if page.declared_language == code)
        lines = (json.dumps({"text": text, "language": code}) for text in texts)
        (directory / f"texts/{code}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def main(directory: Path) -> None:
    """Runs every command in the directory; stops at the first that fails."""
    write_texts(directory)
    started = time.monotonic()
    for words in commands():
        words += FEWER.get(words[1], [])
        print("$", shlex.join(words), flush=True)
        words = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        subprocess.run(words, cwd=directory, check=True)
    seconds = time.monotonic() - started
    print(f"From text to {directory}/report/index.html in {seconds:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
