"""What the first host's coordinator shows to others."""

import os
import socket
import subprocess
import sys

import pytest

LISTENS = """
import psutil, sys
from pipeline.arguments import Hosts
from pipeline.hardware.coordination import connect

connect(Hosts(count=1, index=0, coordinator=sys.argv[1]))
for socket in psutil.Process().net_connections("inet"):
    if socket.status == psutil.CONN_LISTEN:
        print(socket.laddr.ip)
"""


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_coordinator_of_one_machine_listens_on_loopback_alone(host):
    with socket.socket() as found:
        found.bind((host, 0))
        address = f"{host}:{found.getsockname()[1]}"
    shown = subprocess.run(
        [sys.executable, "-c", LISTENS, address],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(shown.stdout.split()) - {"127.0.0.1", "::1", "::ffff:127.0.0.1"} == set()
    assert shown.stdout.split()
