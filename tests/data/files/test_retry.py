""""""

import errno
import os

import pytest

from data.errors import DataError
from data.files import stores
from data.files.stores import with_retries
from pipeline.errors import system_failure
from pipeline.stopping import Stopped

PATH = "s3://bucket/corpus"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(stores, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(stores, "LONGEST_WAIT_SECONDS", 0.0)


def attempts(error):
    """Returns the number of attempts at an action that fails once, and the error raised."""
    made = []

    def action():
        made.append(error)
        if len(made) == 1:
            raise error

    try:
        with_retries(action, PATH)
    except BaseException as raised:
        return len(made), raised
    return len(made), None


def test_a_connection_that_breaks_is_tried_again():
    assert attempts(ConnectionResetError(errno.ECONNRESET, "reset")) == (2, None)


@pytest.mark.parametrize("stop", [Stopped(2), KeyboardInterrupt(), SystemExit(1)])
def test_a_signal_ends_a_request(stop):
    assert attempts(stop) == (1, stop)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_errors_of_the_own_disk_are_not_the_stores(number):
    of_disk = OSError(number, os.strerror(number), "/tmp/copy")
    assert attempts(of_disk) == (1, of_disk)
    assert os.strerror(number) in (system_failure(of_disk) or "")


def test_what_no_wait_resolves_is_a_sentence_at_once():
    made, raised = attempts(PermissionError(errno.EACCES, "denied"))
    assert made == 1
    assert isinstance(raised, DataError)
    assert PATH in str(raised)
