"""Exceptions that end a command with one sentence for the user instead of a traceback."""

import signal


class ArtifactError(ValueError):
    """An unusable input or output directory; the message states asked, found and what to do."""


class Preempted(Exception):
    """Training that SIGTERM stopped, after a checkpoint; the message names its step."""


PREEMPTED_STATUS = 128 + signal.SIGTERM  # 143, the exit status that shells report
