"""Credentials stay out of command lines, jobs, and messages.

Every process of a machine can read another's command line. Beam copies a job's options into its
graph, its workers' environment and its runner's pages. So a credential among the arguments is
refused by its name, before anything prints or passes on its value. Stores' libraries read the
environment and credential files by themselves, in each process.
"""

import os
import re
from collections.abc import Mapping, Sequence

from data.errors import DataError

NAME = (
    r"(?:secret|passwo?r?d|passphrase|access_?key|session_?token|auth_?token|access_?token"
    r"|api_?key|private_?key|connection_?string)"
)
OPTION = re.compile(rf"(--[\w.]*{NAME}[\w.]*)(?:=|$)", re.IGNORECASE)
ASSIGNED = re.compile(rf"(\w*{NAME}\w*)[\"']?\s*[=:]", re.IGNORECASE)  # JSON, or NAME=VALUE
IN_ADDRESS = re.compile(r"(?:^|=)[a-z][a-z0-9+.-]*://[^/?#\s]*:[^/?#\s]*@")
VARIABLE = re.compile(NAME, re.IGNORECASE)
SHORTEST = 8  # shorter values would be found in ordinary words
HIDDEN = "***"


def refuse(arguments: Sequence[str]) -> None:
    """Checks that a command line holds no credentials.

    Raises:
        DataError: if an option is named like one, or an address holds a password.
    """
    for word in arguments:
        if named := OPTION.match(word.replace("-", "_").replace("__", "--", 1)):
            raise _refusal(named[1])
        if IN_ADDRESS.search(word):
            raise _refusal("An address with a password")


def refuse_in_job(options: Sequence[str]) -> None:
    """Checks that the options of a Beam job hold no credentials, inside of values too.

    Raises:
        DataError: if they do.
    """
    refuse(options)
    for word in options:
        if named := ASSIGNED.search(word):
            raise _refusal(named[1])


def redacted(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns a message without the values of credentials that the environment holds."""
    for name, value in environment.items():
        if VARIABLE.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    return text


def _refusal(name: str) -> DataError:
    return DataError(
        f"{name} was given on the command line, which other processes of this machine can read, "
        "and which a job shows to its runner; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or "
        "~/.aws/credentials), GOOGLE_APPLICATION_CREDENTIALS, or ~/.netrc instead, here and on "
        "every worker."
    )
