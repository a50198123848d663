"""The errors that Orbax leaves behind after a failed read or write."""

import functools
import logging
import sys


@functools.cache
def silence_late_errors() -> None:
    """Silences the errors that follow the first error of a checkpoint, which is raised.

    If one array cannot be read or written, Orbax raises and closes its event loop. Every other
    array (145 were counted) would then print its own traceback: that its error was never
    retrieved, or that the loop is closed.
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
