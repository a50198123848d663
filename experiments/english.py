"""The paper's main experiment, small: T5 against Switch on English under C4's rules.

    python experiments/english.py [--documents DIR] [--web GLOB] [--out DIR]

Runs like `multilingual.py`, with the rules, the shape (ReLU, tied logits) and the language of the
paper's first five sections. Results: docs/results/english.md.
"""

import tyro
from lanes import run_all
from multilingual import Arguments, Text, prepare, pretrain, report

SEEDS = (0, 1, 2, 3)
ENGLISH = Text(
    rules="c4-en",
    languages=("en",),
    held_out=("--validation-share=0.03", "--validation-minimum=60"),
    vocabulary=("--size=2048", "--character-coverage=0.9999"),
)


def main(arguments: Arguments) -> None:
    """Runs what is not finished."""
    out = arguments.out / "english"
    prepare(arguments, out, ENGLISH)
    run_all(
        [
            pretrain(out, f"{kind}-{seed}", f"{kind}-english", f"--set=seed={seed}")
            for seed in SEEDS
            for kind in ("switch", "t5")
        ]
    )
    report(out, "report", [f"t5-{seed}" for seed in SEEDS], [f"switch-{seed}" for seed in SEEDS])


if __name__ == "__main__":
    main(tyro.cli(Arguments))
