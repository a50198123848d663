"""The error whose message is for the user: one sentence with what was asked, found and to do."""


class ArtifactError(ValueError):
    """An input or output directory that cannot be used; the message says what to do."""
