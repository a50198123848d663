"""Training runs directly in stores, MinIO and an emulator of Google's: as on a disk, to the bit.

A proxy between the run and its store kills the run at chosen requests, or answers 503.
"""

import json
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_proxy import Request, proxy
from small_tokens import write_tokens
from training_runs import EXPERTS, SIZES, assert_same_run, lines, parameters

from data.files import stores
from data.files.paths import Address, names_in, place, read_bytes
from pipeline.runs.directory import steps_in

STEPS, EVERY = 6, 2
# One layer: a checkpoint of two is 642 objects, and each is a request or more.
SETTINGS = (
    *(f"steps={STEPS}", f"checkpoint_every={EVERY}", f"evaluate_every={STEPS // 2}"),
    *(*SIZES, "model.layers=1"),
)
DENSE = ("--recipe=mt5-demo", "--set", *SETTINGS, "mesh.data=2")
SPARSE = (
    *("--recipe=switch-demo", "--set", "model.switch.every=1"),
    *(*SETTINGS, *EXPERTS, "mesh.expert=2"),
)
WRITES = ("PUT", "POST")
QUICK = {"QUICK_RETRIES": "yes"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),  # aiohttp's
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory, make_blocks) -> Callable[..., list[str]]:
    """A function from a run's place and more options to the words of its command."""
    tokens = tmp_path_factory.mktemp("tokens")
    write_tokens(tokens, make_blocks)

    def words(out: object, *options: str, command: str = "pretrain") -> list[str]:
        return [command, f"--tokens={tokens}", f"--out={out}", *(options or SPARSE)]

    return words


@pytest.fixture(scope="module")
def two() -> dict[str, str]:
    """The environment variable for two simulated devices."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=2")
    return {"XLA_FLAGS": flags}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, asked, mswitch, two) -> Path:
    """The run on a disk."""
    out = tmp_path_factory.mktemp("whole") / "run"
    mswitch(*asked(out), **two)
    return out


@pytest.fixture(params=["minio", "google"])
def store(request, monkeypatch):
    """A store, which this process reaches too."""
    return reached(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def s3(minio, monkeypatch):
    return reached(minio, monkeypatch)


def reached(found, monkeypatch):
    monkeypatch.setattr(stores, "_options", found.fsspec)
    for name, value in found.variables.items():
        monkeypatch.setenv(name, value)
    return found


def test_killed_in_a_save_in_its_commit_and_in_the_log_it_ends_as_if_nothing_had(
    store, asked, whole, start, mswitch, two
):
    """An object of arrays is cut in half; the record and the log never reach the store."""
    out = place(f"{store.bucket('killed')}/runs/switch")
    moments = (
        (f"checkpoints/{EVERY}-", 7, Request.send_half, [[]]),
        (f"checkpoints/{2 * EVERY}.json", 1, leave, [[EVERY]]),
        ("metrics.jsonl", 3, leave, [[EVERY], [EVERY, 2 * EVERY]]),
    )
    for name, number, action, steps in moments:
        killer = Killer(name, number, action)
        with proxy(store.address, killer.meet) as address:
            killer.job = start(*asked(out), **store.reached_at(address), **two)
            said = killer.job.communicate()[1]
        assert killer.job.returncode == -signal.SIGKILL, said
        assert steps_in(out / "checkpoints") in steps
    mswitch(*asked(out), **store.variables, **two)
    assert_same_run(out, whole, STEPS)
    left = {name.split(".")[0].split("-")[0] for name in names_in(out / "checkpoints")}
    assert left == {str(STEPS - EVERY), str(STEPS)}


class Killer:
    """Kills a job at the n-th write of an object of a name, and does something to the write."""

    def __init__(self, name: str, number: int, action: Callable[[Request], None]):
        self.name, self.left, self.action = name, number, action
        self.job: Any = None

    def meet(self, request: Request) -> None:
        if request.command in WRITES and request.body and request.names(self.name):
            self.left -= 1
            if self.left == 0:
                os.kill(self.job.pid, signal.SIGKILL)
                self.action(request)


def leave(request: Request) -> None:
    """Ends a request unanswered, which the store never sees."""
    request.answered = request.close_connection = True


def test_503_now_and_then_changes_nothing(store, asked, whole, mswitch, two):
    """Of all requests one in twenty, and the first writes of the log and of a record."""
    out, draw, refused = place(f"{store.bucket('unsteady')}/switch"), random.Random(5), []
    first = ["metrics.jsonl", f"checkpoints/{EVERY}.json"]

    def trouble(request: Request) -> None:
        writes = request.command in WRITES
        named = [name for name in first if writes and request.names(name)]
        if named or draw.random() < 0.05:
            first[:] = [name for name in first if name not in named]
            # Read now: the connection's next request is the same object.
            refused.append("array" if writes and request.names("/c/") else "other")
            request.refuse()

    with proxy(store.address, trouble) as address:
        mswitch(*asked(out), **store.reached_at(address), **two, **QUICK)
    assert not first
    assert set(refused) == {"array", "other"}
    assert_same_run(out, whole, STEPS)


def test_a_store_that_stays_away_is_one_sentence_and_the_run_goes_on_later(
    s3, asked, whole, mswitch, two
):
    """It answers nothing but 503 from the first array of the second save on."""
    out, away = place(f"{s3.bucket('away')}/switch"), []

    def trouble(request: Request) -> None:
        if away or (request.command == "PUT" and request.names(f"checkpoints/{2 * EVERY}-")):
            away.append(request.path)
            request.refuse()

    with proxy(s3.address, trouble) as address:
        done = mswitch(*asked(out), **s3.reached_at(address), **two, **QUICK,
                       fails=True, AWS_MAX_ATTEMPTS="1")  # fmt: skip
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("mswitch: ")
    assert "Traceback" not in done.stderr
    assert steps_in(out / "checkpoints") == [EVERY]
    mswitch(*asked(out), **s3.variables, **two)
    assert_same_run(out, whole, STEPS)


def test_every_command_reads_runs_in_a_store(store, asked, whole, mswitch, two, tmp_path):
    """The same words with a local run and with its copy in the store print the same."""
    bucket = store.bucket("commands")
    there = {"switch": f"{bucket}/switch", "mt5": f"{bucket}/mt5"}
    here = {name: f"{tmp_path}/{name}" for name in there}
    shutil.copytree(whole, here["switch"])
    more = {**store.variables, **two}
    mswitch(*asked(there["switch"]), **more)
    for runs in (here, there):
        mswitch(*asked(runs["mt5"], *DENSE), **more)
    tokens = asked("")[1]

    def printed(name: str, runs: dict[str, str]) -> list[str]:
        out = f"{tmp_path}/{name}" if runs is here else f"{bucket}/{name}"
        words = [
            [f"inspect {runs['switch']}"],
            [f"evaluate --run {runs['switch']} --step {STEPS - EVERY} {tokens}"],
            ["fill", "Watu <extra_id_0> huru", "--run", runs["switch"], "--tokens=3"],
            [f"report --baseline {runs['mt5']} --candidate {runs['switch']} --out {out}-report"],
            [f"export-hf --run {runs['mt5']} --out {out}-exported"],
            [f"inspect {out}-exported"],
        ]
        done = [mswitch(*(one[0].split() if len(one) == 1 else one), **more) for one in words]
        places = sorted([*runs.values(), out], key=len, reverse=True)
        texts = [one.stdout for one in done]
        for at in places:
            texts = [text.replace(at, "PLACE") for text in texts]
        return [timeless(text) for text in texts]

    assert printed("out", here) == printed("out", there)
    for name in there:
        assert_same_run(place(there[name]), Path(here[name]), STEPS)


def timeless(text: str) -> str:
    """Returns a text without the numbers of a table that a clock decides."""
    return "\n".join(line for line in text.splitlines() if "0:00:" not in line)


def test_runs_begin_with_runs_in_a_store(s3, asked, mswitch, two, tmp_path):
    """A student, a branch off a trunk, a run with another's weights: as on a disk."""
    bucket, more = s3.bucket("beginnings"), {**s3.variables, **two}
    trunk = (*SPARSE, f"keep_every={EVERY}")
    short = ("steps=4", "evaluate_every=4")
    for root in (tmp_path, bucket):
        mswitch(*asked(f"{root}/trunk", *trunk), **more)
        mswitch(*asked(f"{root}/branch", f"--trunk={root}/trunk", f"--branch-at={EVERY}",
                       *SPARSE, *short), **more)  # fmt: skip
        mswitch(*asked(f"{root}/started", f"--start={root}/branch", *SPARSE, *short), **more)
        mswitch(*asked(f"{root}/student", f"--teacher={root}/branch", *DENSE, *short,
                       command="distill"), **more)  # fmt: skip
    for name in ("branch", "started", "student"):
        assert_same_run(place(f"{bucket}/{name}"), tmp_path / name, 4)


def test_two_hosts_write_one_run(s3, asked, whole, start):
    """Each writes the objects of its own devices, the first the rest."""
    out = place(f"{s3.bucket('hosts')}/switch")
    with socket.socket() as found:
        found.bind(("localhost", 0))
        coordinator = f"--hosts.coordinator=localhost:{found.getsockname()[1]}"
    one = {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
    hosts = [
        start(*asked(out, "--hosts.count=2", f"--hosts.index={index}", coordinator, *SPARSE),
              **s3.variables, **one)
        for index in range(2)
    ]  # fmt: skip
    said = [host.communicate()[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    for left, right in zip(lines(out), lines(whole), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    for left, right in zip(parameters(out, STEPS), parameters(whole, STEPS), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_one_command_at_a_time_trains_in_a_directory(store, asked, start, mswitch, two):
    out = Address(f"{store.bucket('locked')}/switch")
    first = start(*asked(out), **store.variables, **two)
    while first.poll() is None and not names_in(out / "lock"):
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # or it might end before the second looks
    refused = mswitch(*asked(out), **store.variables, **two, fails=True)
    assert f"is in use by pretrain, process {first.pid}" in refused.stderr
    first.kill()
    first.communicate()
    mswitch(*asked(out), **store.variables, **two)  # at once, as the process has ended
    assert json.loads(read_bytes(out / "manifest.json"))["steps"] == STEPS
