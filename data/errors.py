"""The exception for input that cannot be used, and the test for errors of the operating system.

The message of a `DataError` is one sentence for the user: what was requested, what was found, what
to do. Bad *pages* are not errors; they are rejected with a reason and counted.
"""


class DataError(ValueError):
    """Input or settings that cannot be used; the message states what to do."""


def is_system_error(error: OSError) -> bool:
    """Returns whether the operating system raised the error: it has an errno.

    Such an error means nothing for the content. gzip, FastWARC and Arrow also raise OSError for
    damaged content, but without an errno.
    """
    return error.errno is not None
