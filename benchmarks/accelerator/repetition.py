"""The same steps twice in two processes: are the bits the same?

    python -m benchmarks.accelerator.repetition NAME SETTINGS ...   # prints a digest

Each is a process of its own, as after a kill, with an empty compilation cache. On GPUs they run
with and without the flags of `--deterministic`.
"""

import hashlib
import os
import subprocess
import sys

from pipeline.hardware.compiler_flags import DETERMINISTIC, accelerator, add_flags

STEPS = 3


def repetitions(recipe: tuple[str, tuple[str, ...]]) -> dict[str, bool]:
    """Returns whether two processes end with the same bits, without and with flags.

    Call it before this process takes the accelerator.
    """
    kinds = {"as they are": None}
    if (found := accelerator()) in DETERMINISTIC:
        kinds["with --deterministic"] = DETERMINISTIC[found]
    same = {}
    for name, flags in kinds.items():
        environment = dict(os.environ)
        if flags is not None:
            add_flags(flags, environment)
        same[name] = digest(recipe, environment) == digest(recipe, environment)
    return same


def digest(recipe: tuple[str, tuple[str, ...]], environment: dict[str, str]) -> str:
    """Runs this file and returns what it prints last."""
    name, settings = recipe
    words = [sys.executable, "-m", "benchmarks.accelerator.repetition", name, *settings]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()[-1]


def main(name: str, *settings: str) -> None:
    """Prints a digest of all weights after some steps."""
    import jax
    import numpy as np

    from benchmarks.accelerator.machine import here
    from benchmarks.accelerator.steps import random_batch, trainer_of
    from pipeline.recipe import named
    from pipeline.recipe.fits import with_mesh
    from pipeline.recipe.overrides import override

    devices = here()
    recipe = with_mesh(override(named.get(name), settings), len(devices.devices))
    trainer = trainer_of(recipe, devices)
    state, batch = trainer.init(), random_batch(recipe, trainer)
    for _ in range(STEPS):
        state, _ = trainer.step(state, batch)
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(state.arrays):
        found.update(np.asarray(leaf).tobytes())
    print(found.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
