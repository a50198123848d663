"""Folders of stores as TensorStore names them, which reads and writes arrays by clients of its own.

The place is taken from fsspec's client, so that arrays go to the server that all other files go to,
whether an environment variable or a configuration file names it. Keys are never taken: TensorStore,
too, finds them in the environment, in a credential file or at the machine's own identity.
"""

import os
from typing import Any
from urllib.parse import urlsplit

from data.errors import DataError
from data.stores.object_stores import open_store
from data.stores.retry import ATTEMPTS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS

RETRIES = {
    "max_retries": ATTEMPTS,
    "initial_delay": f"{FIRST_WAIT_SECONDS}s",
    "max_delay": f"{LONGEST_WAIT_SECONDS}s",
}
AWS, GOOGLE = ".amazonaws.com", "https://storage.googleapis.com"
GOOGLE_URL = "TENSORSTORE_GCS_HTTP_URL"  # the only way to tell TensorStore of another server


def kvstore(address: str) -> dict[str, Any]:
    """Returns TensorStore's JSON of a folder in a store.

    Raises:
        DataError: if it lies in a store that TensorStore cannot reach.
    """
    scheme, _, rest = address.partition("://")
    bucket, _, path = rest.partition("/")
    folder = {"bucket": bucket, "path": f"{path.rstrip('/')}/"}
    filesystem, _ = open_store(address)
    if scheme == "s3":
        return folder | _s3(filesystem.s3.meta)
    if scheme in ("gs", "gcs"):
        return folder | _google(filesystem.base)
    raise DataError(
        f"{address} is to hold checkpoints, which are written to s3:// and gs:// alone; name an "
        "address of these, or a path of this machine."
    )


def _s3(client: Any) -> dict[str, Any]:
    context: dict[str, Any] = {"s3_request_retries": RETRIES}
    if "AWS_ACCESS_KEY_ID" in os.environ:  # otherwise it logs five errors about absent files first
        context["aws_credentials"] = {"type": "environment"}
    place = {"endpoint": client.endpoint_url, "aws_region": client.region_name or "us-east-1"}
    is_aws = (urlsplit(client.endpoint_url).hostname or "").endswith(AWS)
    return {"driver": "s3", "context": context, **({} if is_aws else place)}


def _google(base: str) -> dict[str, Any]:
    parts = urlsplit(base)
    if (server := f"{parts.scheme}://{parts.netloc}") != GOOGLE:
        os.environ.setdefault(GOOGLE_URL, server)
    return {"driver": "gcs", "context": {"gcs_request_retries": RETRIES}}
