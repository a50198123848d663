"""`mswitch COMMAND ...`: parses the command line and runs one command.

Exit status: 0 done; 2 refused or given up, in one sentence; 143 training stopped by a signal and
saved; 130, 129 or 143 another stage stopped by Ctrl-C, SIGHUP or SIGTERM; 141 nobody reads the
output any more; 75 another host of the command was lost; 1 a fault of the program, or one that
`doctor` found. An unusable input, and a disk that is full or may not be written, print one
sentence, not a traceback. A command's module is imported only when the command runs, so `--help`
loads none of JAX, Beam and TensorFlow.
"""

import os
import signal
import sys

IS_PROGRAM = __name__ == "__main__" or os.path.basename(sys.argv[0]) == "mswitch"
if IS_PROGRAM and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C shows no traceback of an import

import logging
import select
import traceback

from data.files.stores import ask_first
from pipeline.artifacts import code_version
from pipeline.command import Command
from pipeline.command_line import (
    COMMANDS,
    check_command,
    check_paths,
    parse,
    split_beam_options,
    with_beam_options,
    with_home,
)
from pipeline.errors import (
    CUT_OFF_STATUS,
    PREEMPTED_STATUS,
    REFUSALS,
    Preempted,
    system_failure,
)
from pipeline.hardware.compiler_flags import (
    allow_open_files,
    keep_freed_memory,
    leave_alone_without_chips,
    set_compiler_flags,
)
from pipeline.stopping import Stopped, check_no_signal, end, leave, say, stoppable
from pipeline.terminal import print_lines, print_message, refuse, replace_unknown_characters


def main(argv: list[str] | None = None) -> None:
    """Runs one command and exits with its status; a traceback, too, shows no credential."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else "mswitch"
    replace_unknown_characters()
    if hasattr(COMMANDS.get(name), "deterministic"):  # it computes with JAX
        keep_freed_memory(os.environ)
    try:
        with stoppable(name):
            status = run(argv)
    except Stopped as stopped:
        say(f"mswitch: {name} was {stopped}; the same command goes on from what is finished.")
        leave(stopped.status)
        return
    except Exception:
        for line in traceback.format_exc().splitlines():
            print_message(line)
        status = 1
    end(status)


def run(argv: list[str]) -> int:
    """Runs one command; returns its exit status.

    Status 2 and 143 come with one sentence on standard error.
    """
    logging.getLogger().addFilter(is_worth_reading)
    leave_alone_without_chips()
    allow_open_files()
    try:
        refuse(argv)
        if argv == ["--version"]:
            print_lines(f"mswitch {code_version()}")
        else:
            execute(command_of(argv))
    except REFUSALS as error:
        check_no_signal()
        print_message(f"mswitch: {error}")
        return 2
    except Preempted as stopped:
        print_message(str(stopped))
        return PREEMPTED_STATUS
    except Exception as error:
        if isinstance(error, BrokenPipeError) and output_is_cut_off():
            return CUT_OFF_STATUS
        check_no_signal()
        if (sentence := system_failure(error)) is None:
            raise
        print_message(f"mswitch: {argv[0]} met {sentence}")
        return 2
    return 0


def command_of(argv: list[str]) -> Command:
    """Returns the command that a line names, with its arguments; prints help and exits for none.

    Raises:
        ArtifactError: if there is no such command, or an argument cannot be meant.
    """
    check_command(argv)
    argv = with_home(argv)
    own, beam = split_beam_options(argv)
    command = parse(own)
    check_paths(own[0], command)
    return with_beam_options(own[0], command, beam) if beam else command


def execute(command: Command) -> None:
    """Runs a command, or shows what it would do."""
    ask_first()
    if (deterministic := getattr(command, "deterministic", None)) is not None:
        set_compiler_flags(deterministic=deterministic)
    command.execute()


def output_is_cut_off() -> bool:
    """Returns whether nobody reads standard output any more, as after `| head`.

    What is still printed is then dropped. The same error may come from a connection to a store or a
    worker, where standard output is whole.
    """
    output = sys.stdout.fileno()
    look = select.poll()
    look.register(output, 0)  # errors alone: of a pipe, that no reader is left
    gone = any(event & select.POLLERR for _, event in look.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Returns False for Beam's warning, at every import, about missing cloud libraries."""
    return "apitools not found" not in record.getMessage()


if __name__ == "__main__":
    main()
