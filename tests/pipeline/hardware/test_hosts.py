"""What the first host's coordinator shows to others.

Real processes, of which one is lost, stops or fails; the others must end in one sentence.
"""

import os
import signal
import socket
import subprocess
import sys

import pytest
from joined_hosts import ends

from pipeline.errors import LOST_STATUS, PREEMPTED_STATUS, ArtifactError
from pipeline.hardware.hosts import _seconds_waited, _Seen, _sentence_and_status

LISTENS = """
import psutil, sys
from pipeline.fields import Hosts
from pipeline.hardware.hosts import connect

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


def sentence(printed: str) -> str:
    """Returns the only line that a host printed."""
    (line,) = printed.splitlines()
    return line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "victim", "said"),
    [
        ("kill", 1, "has not answered for"),
        ("stall", 0, "has not answered for"),
        ("hang", 1, "answers, but the others have waited for it"),
    ],
)
def test_a_lost_host_ends_the_others_in_one_sentence(act, victim, said):
    found = ends(act, 2, victim)
    if act != "hang":  # which ends itself too
        assert found.pop(victim)[0] == -signal.SIGKILL
    for status, _, printed in found:
        assert status == LOST_STATUS == 75, printed
        assert f"host {victim} of 2" in sentence(printed)
        assert said in printed
        assert act == "hang" or "start the same command again on all hosts" in printed


@pytest.mark.slow
def test_the_first_host_leaves_last_or_its_sudden_death_ends_the_others_by_an_abort_of_jax():
    first, *others = ends("kill", 3, 0)
    assert first[0] == -signal.SIGKILL
    assert [status for status, _, _ in others] == [-signal.SIGABRT] * 2
    assert [(status, err) for status, _, err in ends("finish", 3, 2)] == [(0, "")] * 3
    for status, out, printed in ends("late", 2, 1):  # a signal after the last point
        assert status == 0, printed
        assert "stopped: True" in out
        assert "could not save" not in printed


@pytest.mark.parametrize(
    ("ahead", "seconds"),
    [
        ([], 0.0),  # all are at one point, for however long
        ([(8, 990.0)], 10.0),
        ([(8, 990.0), (9, 950.0)], 50.0),
        ([(8, 50.0)], 900.0),  # it reached its own point after that
    ],
)
def test_others_wait_from_when_they_are_ahead(ahead, seconds):
    """Not from when the slow host reached its point, at which all may compile for an hour."""
    last = _Seen(answered=999.0, moved=100.0, sync_point=7)
    seen = [_Seen(answered=999.0, moved=moved, sync_point=point) for point, moved in ahead]
    assert _seconds_waited(1000.0, last, [last, *seen]) == seconds


@pytest.mark.slow
def test_what_one_host_refuses_ends_all():
    """The others wait for it inside a collective."""
    first, second = ends("refuse", 2, 1)
    assert (first[0], second[0]) == (2, 2)
    assert sentence(second[2]) == "mswitch: The disk of this host is full; make room."
    assert sentence(first[2]).endswith(
        "ended, and the others end with it: The disk of this host is full; make room."
    )


@pytest.mark.slow
def test_a_signal_outside_training_interrupts_all():
    first, second = ends("interrupt", 2, 0)
    assert (first[0], second[0]) == (PREEMPTED_STATUS, PREEMPTED_STATUS)
    assert "mswitch: stopped by SIGTERM" in first[2]
    assert "host 0 of 2" in sentence(second[2])
    assert "stopped by SIGTERM" in second[2]


@pytest.mark.slow
def test_a_signal_in_training_stops_all_at_one_point():
    found = ends("stop", 4, 2)
    assert [status for status, _, _ in found] == [PREEMPTED_STATUS] * 4
    rounds = {line for _, out, _ in found for line in out.splitlines() if "stopped in" in line}
    assert len(rounds) == 1
    assert all("host 2 of 4" in sentence(printed) for _, _, printed in found)


@pytest.mark.parametrize("error", [ArtifactError, KeyError, ConnectionError])
def test_what_a_host_tells_the_others_holds_no_credential(error, monkeypatch):
    monkeypatch.setenv("SERVICE_API_KEY", "0123456789abcdef")
    said, _ = _sentence_and_status(error("the key 0123456789abcdef was refused"))
    assert "0123456789abcdef" not in said
    assert "was refused" in said
