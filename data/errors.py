"""The one exception of the text half, input that cannot be used; and which errors are the system's.

Its message is a sentence for the person at the keyboard: what was asked, what was found, what to
do. Bad *pages* are not errors; they are rejected with a reason and counted.
"""


class DataError(ValueError):
    """Input or settings that cannot be used; the message says what to do."""


def is_system_error(error: OSError) -> bool:
    """Says whether the system refused, which tells nothing of the content; decoders know no number.

    gzip, FastWARC and Arrow report damage of what they decode as an OSError as well, without one.
    """
    return error.errno is not None
