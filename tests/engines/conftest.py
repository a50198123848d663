"""Fixtures of the engines' tests: real servers on loopback, each with a folder of its own.

`make engines` builds the programs into `.engines/` and names that folder in MSWITCH_ENGINES. A
server starts on a free port when a test first requests it and ends with the tests that use it;
nothing else is ended. Jobs are commands as a user types them, in processes of their own, with one
change: work items are small (`small_pieces.py`), so that little text makes many of them.

The text is every fourth page of `../shared/data/web` beside the checkout, or all of what
MSWITCH_WEB names; where neither exists, pages made of shipped text (`shuffled_pages.py`).
"""

import contextlib
import functools
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import contents
import pyarrow.parquet as pq
import pytest
import raw_archives
import short_pages
from shuffled_pages import shuffled_pages

from data import demo
from data.urls import host_of

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # as data.files.stores has it
ROOT = Path(__file__).parents[2]
ENGINES = Path(os.environ.get("MSWITCH_ENGINES", ROOT / ".engines"))
WORKER = ENGINES / "worker"  # a virtual environment that holds the built wheel
JAVA_OPTIONS = Path(__file__).with_name("java.args")
SMALL_PIECES = str(Path(__file__).with_name("small_pieces.py"))
LAUNCH = ROOT / "docs/launch.md"
ADDRESSES = 10_000_000  # on two pages each: 1,240 MB are sent, more than two heaps of 512 MiB
RULES = ("mc4", "mswitch-web")
ONE = ("--direct_num_workers=1",)
PAGES_MADE = 20  # per language, where no web page lies beside the checkout
PATIENCE_SECONDS = 600.0  # a busy machine must not fail a test
Mswitch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Returns a free port of loopback."""

    def find() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return one.getsockname()[1]

    return find


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Callable[..., contextlib.AbstractContextManager]:
    """Runs a server for the duration of a block, and ends only that server.

    It is a program of `.engines/` or a Python script, started in `cwd` with more variables.
    """
    logs = tmp_path_factory.mktemp("logs")

    @contextlib.contextmanager
    def serve(port: int, program: str | Path, *arguments: object, cwd: Path = ROOT, **more: str):
        script = str(program).endswith(".py")
        command = [sys.executable, program] if script else [ENGINES / program]
        log = logs / f"{port}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*map(str, command), *map(str, arguments)],
                cwd=cwd, env=environment(**more), stdout=file, stderr=file,
            )  # fmt: skip
        try:
            wait_for(port, process, log)
            yield process
        finally:
            end(process)

    return serve


@pytest.fixture(scope="session")
def java(served) -> Callable[..., contextlib.AbstractContextManager]:
    """Runs a program of Java for the duration of a block, with the jars of an engine.

    Where Maven had no jars for `make engines`, tests that need them are skipped.
    """

    def serve(engine: str, port: int, main: str, *arguments: object, options=(), **more):
        jars, program = ENGINES / engine / "jars", shutil.which("java")
        if not program or not (ENGINES / engine / ".installed").exists():
            pytest.skip(f"make engines found no Java or no jars for {engine}")
        named = (f"@{JAVA_OPTIONS}", *options, "-cp", f"{jars}/*", main)
        return served(port, program, *named, *arguments, **more)

    return serve


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        said = f"{process.args} did not answer at {port}:\n{log.read_text()[-2000:]}"
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def environment(**more: str) -> dict[str, str]:
    """A user's environment: this one without real stores and without simulated devices.

    A test that reads arrays names its store to TensorStore, past the proxies of later tests.
    """
    left_out = ("AWS_", "TENSORSTORE_", "XLA_FLAGS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return kept | more


@pytest.fixture(scope="session")
def mswitch() -> Mswitch:
    """Runs a command to its end; with `fails` it must end with status 2 and a sentence."""

    def run(*command: object, cwd: Path = ROOT, fails: bool = False, **more: str):
        done = subprocess.run(
            [sys.executable, SMALL_PIECES, *map(str, command)],
            capture_output=True, text=True, check=False, cwd=cwd,
            env=environment(PYTHONPATH=python_path(), **more),
        )  # fmt: skip
        assert done.returncode == (2 if fails else 0), done.stderr[-6000:]
        return done

    return run


def python_path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


@pytest.fixture(scope="session")
def python() -> Mswitch:
    """Runs Python code in a folder, with this checkout's packages."""

    def run(code: str, *arguments: str, cwd: Path):
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True, text=True, check=False, cwd=cwd,
            env=environment(PYTHONPATH=python_path()),
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen]:
    """Starts a command without waiting for it."""

    def popen(*command: object, cwd: Path = ROOT, **more: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, SMALL_PIECES, *map(str, command)], cwd=cwd, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=environment(PYTHONPATH=python_path(), **more),
        )  # fmt: skip

    return popen


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """The folder of the archives."""
    named, beside = os.environ.get("MSWITCH_WEB"), ROOT.parent / "shared/data/web"
    if named:
        assert any(Path(named).glob("*.warc.wet.gz")), f"no *.warc.wet.gz in MSWITCH_WEB={named}"
        return Path(named)
    directory = tmp_path_factory.mktemp("raw")
    if beside.exists():
        raw_archives.write_every(4, beside, directory)
    else:
        demo.write(directory, shuffled_pages(PAGES_MADE))
    return directory


@pytest.fixture(scope="session")
def archives(raw) -> str:
    return f"{raw}/*.warc.wet.gz"


@pytest.fixture(scope="session")
def workers(
    tmp_path_factory, served, free_port
) -> Callable[..., contextlib.AbstractContextManager]:
    """Runs a pool of Beam workers in the wheel's environment and in an empty folder.

    Yields its HOST:PORT. Nothing of this checkout can be imported there.
    """

    @contextlib.contextmanager
    def serve(**more: str):
        port, folder = free_port(), tmp_path_factory.mktemp("elsewhere")
        # The pool starts `python` from PATH.
        path = os.pathsep.join((str(WORKER / "bin"), os.environ["PATH"]))
        module = ("-m", "pipeline.beam.worker_pool", f"--service_port={port}")
        bare = {"PATH": path, "PYTHONPATH": "", "VIRTUAL_ENV": "", **more}
        with served(port, "worker/bin/python", *module, cwd=folder, **bare):
            yield f"localhost:{port}"

    return serve


@pytest.fixture(scope="session")
def worker_pool(workers) -> Iterator[str]:
    with workers() as address:
        yield address


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """The Python of the environment that holds only the wheel."""
    return WORKER / "bin/python"


@pytest.fixture(scope="session")
def on_prism() -> Callable[[str], list[str]]:
    """Options for Prism: "" runs the work in the launcher, an address in that pool of workers."""

    def options(pool: str) -> list[str]:
        where = ["LOOPBACK"] if not pool else ["EXTERNAL", f"--environment_config={pool}"]
        runner = ["--runner=PrismRunner", f"--prism_location={ENGINES / 'bin/prism'}"]
        return [*runner, f"--environment_type={where[0]}", *where[1:]]

    return options


@pytest.fixture(scope="session")
def documented() -> Callable[..., list[str]]:
    """Options of the documented command for a job server, with the addresses of this machine."""

    def options(server: str, **here: str) -> list[str]:
        commands = LAUNCH.read_text(encoding="utf-8").replace("\\\n", " ").split("\n")
        (command,) = (one for one in commands if f"--job_endpoint={server}" in one)
        given = shlex.split(command.partition(" -- ")[2])
        names = dict(one.removeprefix("--").split("=") for one in given) | here
        return [f"--{name}={value}" for name, value in names.items()]

    return options


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """Names and SHA-256 of all files of a directory."""
    return contents.digests


@pytest.fixture(scope="session")
def home(tmp_path_factory, raw) -> Path:
    """A folder to launch from, which holds the archives under a relative name."""
    home = tmp_path_factory.mktemp("home")
    (home / "raw").symlink_to(raw)
    return home


@pytest.fixture(scope="session")
def cleaned(home, mswitch, digests) -> Callable[..., dict[str, str]]:
    """Cleans the archives in a place, once; returns the digests of the corpus."""

    @functools.cache
    def run(place: str, rules: str, *options: str) -> dict[str, str]:
        out = f"{place}/{rules}"
        asked = ("--input=raw/*.warc.wet.gz", f"--rules={rules}", f"--out={out}")
        mswitch("clean", *asked, "--", *options, cwd=home)
        return digests(home / out)

    return run


@pytest.fixture(scope="session")
def cleaned_by_one(cleaned) -> dict[str, str]:
    """The corpus that one process of this machine writes with Beam's own runner."""
    return cleaned("one", RULES[-1], *ONE)


@pytest.fixture(scope="session")
def written(home, mswitch, digests, cleaned) -> Callable[..., dict[str, str]]:
    """Runs the jobs in a place; returns their outputs: corpora, scores, selected pages, tokens."""

    def grown(rules: str, place: str, options: list[str]) -> None:
        """Cleans all archives but the last into a corpus, and adds that one."""
        *there, new = sorted(path.name for path in (home / "raw").glob("*.warc.wet.gz"))
        one, two = f"{place}/{rules}-one", f"{place}/{rules}-two"
        inputs = ["--input", *(f"raw/{name}" for name in there), f"--rules={rules}", "--growable"]
        mswitch("clean", *inputs, f"--out={one}", "--", *options, cwd=home)
        added = [f"--input=raw/{new}", f"--onto={one}"]
        mswitch("clean", *added, f"--out={two}", "--", *options, cwd=home)

    def run(place: str, options: list[str]) -> dict[str, str]:
        for rules in RULES:
            cleaned(place, rules, *options)
            grown(rules, place, options)
        if place == "one":
            mswitch(
                "vocabulary", "--corpus=one/mswitch-web", "--size=3000", "--out=vocabulary",
                "--character-coverage=0.98", "--sample-characters=300000", cwd=home,
            )  # fmt: skip
            write_robots(home / "one/mswitch-web", home / "robots.jsonl")
        mswitch(
            "score", "--corpus=one/mswitch-web", f"--out={place}/scores", "--", *options, cwd=home
        )
        mswitch(
            "select", "--corpus=one/mswitch-web", "--scores=one/scores", f"--out={place}/selected",
            "--robots=robots.jsonl", "--mask", "email", "ip", "--", *options, cwd=home,
        )  # fmt: skip
        # All from one corpus: its digest is in the manifest, and it is the same as the others.
        mswitch(
            "tokenize", "--corpus=one/mswitch-web", "--vocabulary=vocabulary",
            f"--out={place}/tokens", "--", *options, cwd=home,
        )  # fmt: skip
        return digests(home / place)

    return run


def write_robots(corpus: Path, out: Path) -> None:
    """Writes a robots.txt for every host of a corpus, which disallows half of the addresses."""
    tables = (pq.read_table(path, columns=["url"]) for path in corpus.glob("pages/*/*.parquet"))
    hosts = sorted({host_of(url) for table in tables for url in table["url"].to_pylist()})
    rules = "User-agent: *\nDisallow: /*1\nDisallow: /*2\nDisallow: /*3\n"
    lines = (json.dumps({"host": host, "robots": rules}) for host in hosts)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def written_by_one(written) -> dict[str, str]:
    """What one process of this machine writes with Beam's own runner."""
    return written("one", list(ONE))


@pytest.fixture(scope="session")
def clean_short_pages(home) -> Callable[..., subprocess.Popen]:
    """Writes short pages below `home`; returns a function that starts their cleaning."""
    (home / "short").mkdir()
    short_pages.write(home / "short", ADDRESSES)

    def start(out: Path, options: Sequence[str]) -> subprocess.Popen:
        """Starts `clean` with work items of the usual size."""
        asked = ["clean", "--input=short/*.jsonl", "--rules=mc4", f"--out={out}", "--", *options]
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *asked],
            cwd=home, env=environment(PYTHONPATH=python_path()),
        )  # fmt: skip

    return start


@pytest.fixture(scope="session")
def short_pages_by_one(tmp_path_factory, clean_short_pages, digests) -> dict[str, str]:
    """The corpus of the short pages that one process of this machine writes."""
    out = tmp_path_factory.mktemp("short") / "corpus"
    assert clean_short_pages(out, ONE).wait() == 0
    short_pages.check(out, ADDRESSES)
    return digests(out)
