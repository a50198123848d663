"""A store that does not answer is one sentence; stores are made here, and no time is measured."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from data.errors import DataError
from data.files import stores
from data.files.paths import read_bytes
from data.files.stores import ANSWER_SECONDS, ask_first, open_store


@pytest.fixture(autouse=True)
def asking(monkeypatch) -> None:
    monkeypatch.setattr(stores, "_asked_first", False)
    monkeypatch.setattr(stores, "_answered", set())
    monkeypatch.setattr(stores, "FIRST_WAIT_SECONDS", 0.001)
    ask_first()


def store_that(answers) -> str:
    """Registers a store whose `info` calls this; returns an address of it."""

    class Store(MemoryFileSystem):
        protocol = "asked"

        def info(self, path, **_):
            return answers()

    fsspec.register_implementation("asked", Store, clobber=True)
    stores._file_system.cache_clear()
    return "asked://bucket/file"


def test_a_store_that_is_silent_is_left(monkeypatch):
    monkeypatch.setattr(stores, "ANSWER_SECONDS", 0.05)
    asked, end = [], threading.Event()
    address = store_that(lambda: asked.append(1) or end.wait())
    with pytest.raises(DataError, match="The store of asked://bucket/file did not answer"):
        read_bytes(address)
    end.set()
    assert asked == [1]


def test_the_last_failure_of_a_store_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr(stores, "ANSWER_SECONDS", 0.2)
    asked = []

    def refuse():
        asked.append(1)
        raise ConnectionRefusedError(111, f"no {len(asked)}")

    address = store_that(refuse)
    with pytest.raises(DataError, match=r"\(ConnectionRefusedError: .* no [0-9]+\); check the net"):
        open_store(address)
    left = len(asked)
    assert left > 1
    with pytest.raises(DataError):  # it is asked again, and by one thread alone
        open_store(address)
    assert len(asked) > left


@pytest.mark.parametrize("answer", [FileNotFoundError("no"), PermissionError("no"), None])
def test_any_answer_is_one_and_is_asked_for_once(answer):
    asked = []

    def reply():
        asked.append(1)
        if answer is not None:
            raise answer
        return {"type": "file", "size": 0}

    address = store_that(reply)
    for _ in range(3):
        open_store(address)
    assert asked == [1]


def test_an_outage_at_the_start_is_waited_for():
    asked = []

    def reply():
        asked.append(1)
        if len(asked) < 3:
            raise TimeoutError
        return {}

    open_store(store_that(reply))
    assert len(asked) == 3


def test_workers_do_not_ask(monkeypatch):
    monkeypatch.setattr(stores, "_asked_first", False)
    asked = []
    open_store(store_that(lambda: asked.append(1)))
    assert asked == []


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes every connection and answers none."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_command_leaves_a_hub_that_is_silent(silent, tmp_path, monkeypatch):
    """Its library alone waits for minutes."""
    assert ANSWER_SECONDS <= 15  # with what a command loads before, less than 20
    monkeypatch.setenv("HF_ENDPOINT", silent)
    quick = "from data.files import stores; stores.ANSWER_SECONDS = 0.5; from pipeline import cli; "
    asked = ["inspect", "hf://datasets/a/b"]
    done = subprocess.run(
        [sys.executable, "-c", f"{quick}cli.main({asked})"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "The store of hf://datasets/a/b" in done.stderr
    assert done.stderr.count("\n") == 1
