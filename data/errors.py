"""The one exception of the text half: input that cannot be used.

Its message is a sentence for the person at the keyboard: what was asked, what was found, what to
do. Bad *pages* are not errors; they are rejected with a reason and counted.
"""


class DataError(ValueError):
    """Input or settings that cannot be used; the message says what to do."""
