"""The errors that Orbax leaves behind after a failed read."""

import functools
import logging
import sys


@functools.cache
def silence_late_reads() -> None:
    """Silences the errors that follow a failed read, from the first restore on.

    If one array of a damaged checkpoint cannot be read, Orbax raises and closes its event loop.
    Every other read (145 were counted) would then print its own traceback: that its error was never
    retrieved, or that the loop is closed. `restore` raises the first error.
    """
    logging.getLogger("asyncio").addFilter(
        lambda record: "exception was never retrieved" not in record.getMessage()
    )
    report = sys.unraisablehook

    def report_others(unraisable: "sys.UnraisableHookArgs") -> None:
        text = str(unraisable.exc_value)
        if "Event loop is closed" not in text and "while reading array" not in text:
            report(unraisable)

    sys.unraisablehook = report_others
