"""Credentials stay out of command lines, jobs, and messages.

Every process of a machine can read another's command line. Beam copies a job's options into its
graph, its workers' environment and its runner's pages. So Beam's options for keys, and addresses
with a password, are refused before anything prints or passes on their values. Stores' libraries
read the environment and credential files by themselves, in each process.
"""

import os
import re
from collections.abc import Mapping, Sequence

from data.errors import DataError

# Beam's options for the keys of a store.
KEYS = re.compile(r"--(?:s3[-_](?:access|secret|session)|azure[-_]connection)[\w-]*")
IN_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]{0,20}://)[^/?#\s@:]*:[^/?#\s]*@", re.IGNORECASE)
# Of environment variables; the values of others are printed.
VARIABLE = re.compile(
    r"secret|passwo?r?d|passphrase|access_?key|session_?token|auth_?token|access_?token|api_?key"
    r"|private_?key|connection_?string",
    re.IGNORECASE,
)
SHORTEST = 8  # shorter values would be found in ordinary words
HIDDEN = "***"


def refuse(arguments: Sequence[str]) -> None:
    """Checks that a command line, or the options of a Beam job, hold no credentials.

    Raises:
        DataError: if one is Beam's option for a key, or an address holds a password.
    """
    for word in arguments:
        key = KEYS.match(word)
        if key or IN_ADDRESS.search(word):
            raise DataError(
                f"{key[0] if key else 'An address with a password'} was given on the command line, "
                "which other processes of this machine can read, and which a job shows to its "
                "runner; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or ~/.aws/credentials), "
                "GOOGLE_APPLICATION_CREDENTIALS, or ~/.netrc instead, here and on every worker."
            )


def redacted(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns a message without passwords in addresses and credentials of the environment."""
    for name, value in environment.items():
        if len(value) >= SHORTEST and VARIABLE.search(name):
            text = text.replace(value, HIDDEN)
    return IN_ADDRESS.sub(rf"\g<1>{HIDDEN}@", text)
