"""`mswitch tokenize` in forks that may be killed: ROOT ATTEMPTS.

ROOT is the folder behind store://. ATTEMPTS is JSON, one per start of the command: its arguments,
and the request to the store at which the process is killed, such as ["copy", 2], the second copy;
null for none. Attempts are forks, as loading TensorFlow takes seconds. Prints JSON with the exit
status of each.
"""

import json
import os
import sys
from pathlib import Path

import faulty_store

from pipeline import cli
from pipeline.tokens import sentencepiece_op

assert sentencepiece_op  # loaded once for all


def attempt(root: Path, arguments: list[str], killed_at: tuple[str, int] | None) -> int:
    """Returns the exit status of the command in a process of its own."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    call, number = killed_at or ("", 0)
    faulty_store.use(root, {call: ("kill", number)} if call else {}, lasting=False)
    cli.main(["tokenize", *arguments])
    os._exit(0)


def main(root: str, attempts: str) -> None:
    print(json.dumps([attempt(Path(root), *one) for one in json.loads(attempts)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
