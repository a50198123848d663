"""Loads a fastText model once in a process with limits, before the workers of a job load it.

The loader is C++ and checks no number of the file. A file may make it run for ever, take all memory
or read outside its tables; then it ends this process only. A file that passes is trusted.
"""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from data.errors import DataError
from data.language_id.fasttext import FastTextIdentifier, existing_file
from data.language_id.fasttext_content import not_a_classifier

OWN_MEMORY = 1 << 30  # of Python, its modules, fixed tables (0.2 GB) and a small file's n-grams
MEMORY_PER_BYTE = 4  # of the file, which is mapped once, loaded once, and has n-grams per word
SECONDS = 60  # of processor time, and one for each BYTES_PER_SECOND; a model of 1 GB takes about 5
BYTES_PER_SECOND = 10_000_000
REFUSED = 3  # exit status; the output is the sentence


def try_to_load(model: Path, seconds: int = SECONDS) -> None:
    """Loads the model in a process with limits and drops it.

    Raises:
        DataError: if the file is not a fastText classifier, or the extra is not installed.
    """
    existing_file(model)  # before a process is started for it
    command = [sys.executable, "-P", "-m", __name__, str(model), str(seconds)]
    same_modules = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, env=same_modules, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == REFUSED:
        raise DataError(done.stdout.strip())
    if done.returncode:
        raise not_a_classifier(model, _end(done))


def _end(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == -signal.SIGXCPU:
        return "loading it takes more processor time than its size explains"
    if done.returncode < 0:
        return f"loading it ended with {signal.Signals(-done.returncode).name}"
    said = done.stderr.strip().splitlines()[-1:] or ["no message"]
    return f"loading it failed: {said[0]}"


def main(model: Path, seconds: int) -> int:
    """Loads the model in this process under limits, and returns the exit status."""
    size = model.stat().st_size
    memory, time = OWN_MEMORY + MEMORY_PER_BYTE * size, seconds + size // BYTES_PER_SECOND
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CPU, time)
    try:
        FastTextIdentifier(model).identify("Habari")
    except DataError as error:
        refusal = error
    except MemoryError:
        refusal = not_a_classifier(model, f"loading it takes more than {memory:,} bytes of memory")
    else:
        return 0
    sys.stdout.write(str(refusal))  # for `try_to_load`
    return REFUSED


def _lower(limit: int, value: int) -> None:
    """Lowers a limit of this process; one that is lower already stays."""
    soft, hard = resource.getrlimit(limit)
    known = [one for one in (soft, hard, value) if one != resource.RLIM_INFINITY]
    resource.setrlimit(limit, (min(known), hard))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
