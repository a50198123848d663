"""Programs that need TensorFlow, each in a fork of one process that has loaded it.

TensorFlow and CLD3 must not meet in one process, so tests do not run `tokenize` in their own. A
process that loads TensorFlow and Beam takes 6 CPU-seconds; a fork of one takes none. The server
imports and does nothing else, so that a fork is as a new process.
"""

import atexit
import functools
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs Python with `-m MODULE ...` or `-c CODE ...` in a folder."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([arguments, str(folder)]) + "\n")
    server.stdin.flush()
    status, out, err = json.loads(server.stdout.readline())
    return subprocess.CompletedProcess(arguments, status, out, err)


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Returns the server of this process, which ends with this process."""
    server = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    server.terminate()
    server.communicate()  # closes its pipes


def serve() -> None:
    """Answers each line of standard input, a program, with its exit status and what it printed."""
    from pipeline.tokens import sentencepiece_op, tokenize

    assert tokenize, sentencepiece_op
    for line in sys.stdin:
        arguments, folder = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if not child:
                _become(arguments, folder, out.fileno(), err.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            printed = [(file.seek(0), file.read())[1] for file in (out, err)]
        print(json.dumps([status, *printed]), flush=True)


def _become(arguments: list[str], folder: str, out: int, err: int) -> None:
    """Runs a program in this process, and ends it."""
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    status = 1
    try:
        _run(*arguments)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(how: str, program: str, *words: str) -> None:
    sys.argv = [program, *words]
    if how == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(program, {"__name__": "__main__"})


if __name__ == "__main__":
    serve()
