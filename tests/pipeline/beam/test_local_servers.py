"""What a job of several processes shows to its neighbours: loopback only, and no credentials."""

import subprocess
import sys
from ipaddress import ip_address

import pytest
from watched_jobs import Watched, watched_clean

LOOPBACK = {ip_address(one) for one in ("127.0.0.1", "::1", "::ffff:127.0.0.1")}
SECRETS = {
    "AWS_ACCESS_KEY_ID": "PLANTEDKEYID20",
    "AWS_SECRET_ACCESS_KEY": "planted/Secret+Access=Key",
    "AWS_SESSION_TOKEN": "planted-session-token",
}
HARMLESS = "planted-region"  # found wherever options are, so that the search is known to work


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Watched:
    options = (f"--s3_region_name={HARMLESS}", "--default_sdk_harness_log_level=DEBUG")
    return watched_clean(tmp_path_factory.mktemp("watched"), *options, **SECRETS)


@pytest.mark.slow
def test_the_servers_of_a_job_listen_on_loopback_only(watched):
    assert watched.status == 0, watched.output.decode()
    assert watched.listening
    assert watched.listening <= LOOPBACK


@pytest.mark.slow
def test_planted_secrets_are_in_nothing_that_a_job_hands_out_or_writes(watched):
    found = (name for name, said in watched.handed_out.items() if HARMLESS.encode() in said)
    assert {name.split()[0] for name in found} >= {"command", "options", "provision"}
    everything = watched.handed_out | {"output": watched.output}
    leaks = [
        (where, name)
        for where, said in everything.items()
        for name, secret in SECRETS.items()
        if secret.encode() in said
    ]
    assert leaks == []


POOL = """
import os, grpc
from pipeline.beam import worker_pool
made = grpc.server

def server(*arguments, **settings):
    opened = made(*arguments, **settings)
    opened.add_insecure_port = lambda address: (print(address, flush=True), os._exit(0))
    return opened

grpc.server = server
worker_pool.main()
"""


def test_a_pool_of_workers_listens_on_loopback_only():
    """It starts whatever program a client names."""
    words = [sys.executable, "-c", POOL, "--service_port=50000"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "127.0.0.1:50000\n", done.stderr
