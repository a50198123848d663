"""`mswitch`, killed (SIGKILL) at a named moment of a named save: FILE MOMENT STEP -- COMMAND...

`during`: the step's arrays are being written. `before_commit`: all is written, nothing renamed yet.
"""

import os
import signal
import sys

from orbax.checkpoint.path import atomicity

from pipeline import cli

INNER = "default"  # the folder of arrays within a step's


def main(moment: str, step: str, command: list[str]) -> None:
    inner = atomicity.AtomicRenameTemporaryPath.finalize

    async def finalize(self) -> None:
        final = self.get_final()
        here = {"during": final.name == INNER, "before_commit": final.name == step}[moment]
        if here and step in str(final):
            os.kill(os.getpid(), signal.SIGKILL)
        await inner(self)

    atomicity.AtomicRenameTemporaryPath.finalize = finalize
    cli.main(command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[4:])
