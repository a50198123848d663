from datetime import datetime

import pytest

from pipeline.training.log import time_account
from pipeline.training.log.time_account import TimeAccount, describe, record


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test advances."""
    now = [0.0]
    monkeypatch.setattr(time_account.time, "perf_counter", lambda: now[0])
    return now


def test_every_second_is_booked_once(clock):
    account = TimeAccount()
    clock[0] = 1.0
    with account.spend("stepping"):
        clock[0] = 4.0
        with account.spend("checkpointing"):
            clock[0] = 9.0
        clock[0] = 10.0
    shares = account.shares()
    assert account.seconds["starting"] == 1.0
    assert account.seconds["stepping"] == 4.0
    assert account.seconds["checkpointing"] == 5.0
    assert sum(shares.values()) == pytest.approx(1.0)
    assert describe(account.seconds).startswith("goodput 40.0%: starting 10.0% (1 s)")


def test_time_is_booked_when_an_error_ends_the_activity(clock):
    account = TimeAccount()

    def fail():
        with account.spend("evaluating"):
            clock[0] = 2.0
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert account.seconds["evaluating"] == 2.0


def test_all_starts_of_a_run_add_up(clock, tmp_path):
    account = TimeAccount()
    with account.spend("stepping"):
        clock[0] = 6.0
    record(tmp_path, account, first=0, last=30)
    killed = TimeAccount()  # after step 30, and with the same process number
    with killed.spend("stepping"):
        clock[0] = 12.0
    record(tmp_path, killed, first=20, last=40)
    whole = record(tmp_path, killed, first=20, last=50)
    assert whole["seconds"]["stepping"] == 12.0
    assert whole["steps_made_again"] == 10
    assert whole["goodput"] == 1.0
    began, ended = ([start[name] for start in whole["starts"]] for name in ("began", "ended"))
    assert all(map(datetime.fromisoformat, began + ended))
    assert sorted(began) == began
    assert began <= ended
