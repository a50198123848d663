"""The documented Dataflow command, unchanged, against emulators of Dataflow and Google's storage.

`gs://` is fake-gcs-server; Dataflow is `dataflow_by_prism.py`, which runs the staged graph on Prism
with workers of the wheel's environment. Only the names in capitals and the addresses of the two
services are replaced in the command.
"""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import gcsfs
import pytest

ROOT = Path(__file__).parents[2]
NAMES = {"BUCKET": "bucket", "PROJECT": "my-project", "REGION": "europe-west4",
         "REGISTRY": "registry.example/mswitch"}  # fmt: skip


# aiohttp's, of a file that the emulator gets whole.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


class Ran(NamedTuple):
    """The results of a launch."""

    job: dict
    graph: bytes
    counters: list[dict[str, int]]


def documented(stage: str) -> list[str]:
    text = (ROOT / "docs/launch.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = (
        line
        for line in text.split("\n")
        if f"mswitch {stage}" in line and "=DataflowRunner" in line
    )
    for name, value in NAMES.items():
        line = re.sub(rf"\b{name}\b", value, line)
    return shlex.split(line)[1:]


@pytest.fixture(scope="module")
def storage(tmp_path_factory, served, free_port):
    """Yields the environment variable of an emulator with a bucket."""
    folder, port = tmp_path_factory.mktemp("gcs"), free_port()
    (folder / "bucket").mkdir()
    host = ("-scheme", "http", "-host", "127.0.0.1", "-port", port, "-log-level", "warn")
    backend = ("-backend", "filesystem", "-filesystem-root", folder)
    where = ("-public-host", f"127.0.0.1:{port}")
    with served(port, "bin/fake-gcs-server", *host, *backend, *where):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def bucket(storage, raw):
    """The file system of the emulator, with the archives in its bucket."""
    files = gcsfs.GCSFileSystem(token="anon", endpoint_url=storage, use_listings_cache=False)
    for path in sorted(raw.glob("*.warc.wet.gz")):
        files.put_file(str(path), f"bucket/crawl/{path.name}")
    return files


@pytest.fixture(scope="module")
def dataflow(tmp_path_factory, storage, served, free_port, workers):
    """Yields the service's address and the folder of posted jobs."""
    folder, ports = tmp_path_factory.mktemp("dataflow"), (free_port(), free_port())
    prism = ("--job_port", ports[1], "--serve_http=false")
    with (
        workers(STORAGE_EMULATOR_HOST=storage) as pool,
        served(ports[1], "bin/prism", *prism),
        served(
            ports[0], Path(__file__).with_name("dataflow_by_prism.py"),
            ports[0], folder, ports[1], pool, STORAGE_EMULATOR_HOST=storage,
        ),
    ):  # fmt: skip
        yield f"http://localhost:{ports[0]}", folder


@pytest.fixture(scope="module")
def launch(mswitch, storage, dataflow, bucket):
    """Runs a documented command; returns the posted job and its graph."""
    address, folder = dataflow

    def run(stage: str, *before: str) -> Ran:
        command = documented(stage)
        at = command.index("--")
        command[at:at] = before
        emulated = ("--no_auth", f"--dataflow_endpoint={address}")
        noted = folder / "counters"
        mswitch(*command, *emulated, STORAGE_EMULATOR_HOST=storage, COUNTERS=str(noted))
        last = max(folder.glob("*.json"))
        graph = last.with_suffix(".pb").read_bytes()
        return Ran(json.loads(last.read_text()), graph, json.loads(noted.read_text()))

    return run


@pytest.fixture(scope="module")
def cleaned(launch) -> Ran:
    return launch("clean")


def test_what_is_posted_is_what_was_asked(cleaned):
    environment = cleaned.job["environment"]
    options = environment["sdkPipelineOptions"]["options"]
    assert (options["project"], options["region"]) == ("my-project", "europe-west4")
    (pool,) = environment["workerPools"]
    image = "registry.example/mswitch/worker:0.1.0"
    assert [one["containerImage"] for one in pool["sdkHarnessContainerImages"]] == [image]
    assert options["sdk_location"] == "container"  # the image has everything: nothing is installed
    assert [Path(one["name"]).suffix for one in pool["packages"]] == [".txt"]
    assert options["pipelineUrl"].startswith("gs://bucket/staging/")
    assert environment["tempStoragePrefix"].startswith("storage.googleapis.com/bucket/temp/")
    scaling = pool["autoscalingSettings"]
    assert scaling["maxNumWorkers"] == 400
    assert (pool["machineType"], pool["diskSizeGb"]) == ("n2-standard-4", 100)


def test_graph_and_job_stay_under_a_megabyte(cleaned):
    assert len(cleaned.graph) < 1_000_000
    assert len(json.dumps(cleaned.job)) < 1_000_000
    assert b"crawl/" not in cleaned.graph  # no list of files


def test_what_was_staged_gives_the_same_pages(cleaned, storage, bucket, mswitch, digests, tmp_path):
    """The staged graph, in workers that hold only the wheel, against a run on this machine."""
    command = documented("clean")
    command = command[: command.index("--")]
    command[command.index("--out") + 1] = str(tmp_path / "here")
    mswitch(*command, "--", "--no_auth", STORAGE_EMULATOR_HOST=storage)
    bucket.get("bucket/corpus", str(tmp_path / "there"), recursive=True)
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert len(digests(tmp_path / "there")) > 20


def test_counters_have_the_same_names_there(cleaned, bucket):
    manifest = json.loads(bucket.cat_file("bucket/corpus/manifest.json"))
    last, kept = cleaned.counters[-1], [one["kept"] for one in manifest["languages"].values()]
    # Prism stands in for Dataflow here and may count too little (`pipeline.beam.job.counters`).
    assert 0 < last["pages_read"] <= manifest["input"]["records"]
    assert 0 < last["pages_kept"] <= sum(kept)
    assert 0 < last["bytes_read"] <= sum(bucket.du("bucket/crawl", total=False).values())


def test_what_was_staged_gives_the_same_tokens(
    cleaned, launch, storage, bucket, mswitch, digests, tmp_path
):
    made = ("--size=3000", "--character-coverage=0.98", "--sample-characters=300000")
    mswitch("vocabulary", "--corpus=gs://bucket/corpus", *made, f"--out={tmp_path / 'v'}",
            STORAGE_EMULATOR_HOST=storage)  # fmt: skip
    bucket.put(str(tmp_path / "v"), "bucket/vocabulary", recursive=True)
    launch("tokenize")
    mswitch("tokenize", "--corpus=gs://bucket/corpus", f"--vocabulary={tmp_path / 'v'}",
            f"--out={tmp_path / 'here'}", STORAGE_EMULATOR_HOST=storage)  # fmt: skip
    bucket.get("bucket/tokens", str(tmp_path / "there"), recursive=True)
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


def test_options_that_dataflow_does_not_take_are_one_sentence(mswitch, storage, bucket):
    command = documented("clean")
    command[command.index("--out") + 1] = "gs://bucket/empty"
    refused = ("--no_auth", "--project=Not A Project")
    done = mswitch(*command, *refused, fails=True, STORAGE_EMULATOR_HOST=storage)
    assert "Beam rejects the options after --" in done.stderr.splitlines()[-1]
    assert not bucket.exists("bucket/empty/manifest.json")
