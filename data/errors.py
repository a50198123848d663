"""Errors about input of others, and the control characters in it.

The message of a `DataError` is one sentence for the user: what was requested, what was found, what
to do. Bad *pages* are not errors; they are rejected with a reason and counted.

Control characters of others are escaped before a terminal or a document shows them. A terminal
executes them: ESC and the C1 controls recolour, retitle and overwrite. A line break forges a line
of its own, and Unicode's bidirectional controls reorder what stands beside them. Lone surrogates
(bytes of a file name that are not UTF-8) cannot be written at all.
"""

from collections.abc import Iterable

import regex

LONGEST_NAMES = 300  # characters of the names that a message lists


class DataError(ValueError):
    """Input or settings that cannot be used; the message states what to do."""


def is_system_error(error: OSError) -> bool:
    """Returns whether the operating system raised the error: it has an errno.

    Such an error means nothing for the content. gzip, FastWARC and Arrow also raise OSError for
    damaged content, but without an errno.
    """
    return error.errno is not None


def concerns_one_page(error: BaseException) -> bool:
    """Returns whether an exception raised for a page ends that page only, and not the job.

    Settings that cannot be used, a missing package, the operating system, a lack of memory and a
    request to stop concern every page. All other exceptions are a failure on this page alone.
    """
    if isinstance(error, DataError | ImportError | MemoryError):
        return False
    if isinstance(error, OSError):
        return not is_system_error(error)
    # PyO3 raises a panic of Rust code as a BaseException without a public name.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


CONTROLS = regex.compile(r"[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]")


def escape_controls(text: str) -> str:
    r"""Returns a text on one line, with control characters as Python writes them, such as `\x1b`.

    Joiners that Persian and Indic words need are kept, as are spaces of every width.
    """
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def join_names(names: Iterable[object]) -> str:
    """Returns names of others, with commas between them, for a message of one line."""
    text = escape_controls(", ".join(map(str, names)))
    return text if len(text) <= LONGEST_NAMES else f"{text[:LONGEST_NAMES]} ..."
