"""The paper's main story, small: T5 against Switch on English under C4's rules.

    python experiments/english.py [--documents DIR] [--web GLOB] [--out DIR]

The same way as `multilingual.py`, with the rules, the shape (ReLU, tied logits) and the language
of the paper's first five sections. What came out stands in docs/results/english.md.
"""

from pathlib import Path

import documents
import multilingual
import tyro
from lanes import run_all
from multilingual import Arguments, pretrain, stage

SIDES = ("t5", "switch")
SEEDS = (0, 1)
VOCABULARY = ("--size=2048", "--character-coverage=0.9999")
HELD_OUT = ("--validation-share=0.03", "--validation-minimum=60")


def main(arguments: Arguments) -> None:
    """Runs what is not yet done."""
    multilingual.check(arguments)
    out = arguments.out / "english"
    raw = out / "raw"
    if not (out / "corpus" / "manifest.json").exists():
        documents.write(arguments.documents, raw, languages=("en",))
    inputs = f"--input={raw}/en.jsonl.gz", arguments.web
    stage(out, "clean", "--rules=c4-en", *inputs, *HELD_OUT, f"--out={out}/corpus")
    stage(out, "vocabulary", f"--corpus={out}/corpus", *VOCABULARY, f"--out={out}/vocabulary")
    vocabulary = f"--vocabulary={out}/vocabulary"
    stage(out, "tokenize", f"--corpus={out}/corpus", vocabulary, f"--out={out}/tokens")
    run_all(
        [
            pretrain(out, f"{k}-{s}", f"{k}-english", f"--set=seed={s}")
            for s in SEEDS
            for k in SIDES[::-1]
        ]
    )
    report(out)


def report(out: Path) -> None:
    """Writes the report."""
    dense, sparse = ([f"{out}/{kind}-{seed}" for seed in SEEDS] for kind in SIDES)
    read = f"--corpus={out}/corpus", f"--tokens={out}/tokens"
    stage(out, "report", "--baseline", *dense, "--candidate", *sparse, *read, f"--out={out}/report")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
