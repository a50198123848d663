"""What a launch needs, checked without an account: options, package, the job's graph."""

import itertools
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    WorkerOptions,
)
from hatchling.builders.wheel import WheelBuilder

from data.demo import shipped_pages, write
from data.errors import DataError
from pipeline.beam.options import check_workers_reach, pipeline_options
from pipeline.command_line import split_beam_options
from pipeline.commands.clean import Clean
from pipeline.commands.estimate import Estimate
from pipeline.commands.score import Score
from pipeline.corpus import clean, estimate, submission
from pipeline.corpus import job as new_job
from pipeline.corpus.lines import LINE_KEY
from pipeline.corpus.read import MOST_SHARDS, InputFile, input_files
from pipeline.corpus.rules import find_rules

ROOT = Path(__file__).parents[4]
LAUNCH = (ROOT / "docs/launch.md").read_text(encoding="utf-8")
IMAGE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def documented(runner: str, also: str = "") -> list[str]:
    """Returns the options of the first documented command for this runner, and this option."""
    commands = LAUNCH.replace("\\\n", " ").split("\n")
    command, *_ = (
        line
        for line in commands
        if all(word in line for word in (f"--runner={runner}", "mswitch clean", also))
    )
    own, options = split_beam_options(shlex.split(command))
    assert own[:2] == ["mswitch", "clean"]
    return list(options)


@pytest.mark.parametrize("rules", ["mc4", "mswitch-web"])
def test_the_graph_stays_small_whatever_the_input(tmp_path, rules):
    files = [
        InputFile(f"gs://bucket/crawl-data/CC-MAIN-2026-01/{number:09}.warc.wet.gz", 120_000_000)
        for number in range(100_000)
    ]
    job = new_job.begin_job(str(tmp_path), find_rules(rules), files)
    assert 1500 < job.shards <= 2 * MOST_SHARDS
    pipeline = beam.Pipeline(options=pipeline_options(()))
    submission.build(job, next(submission.graphs(job)), pipeline)
    graph = pipeline.to_runner_api().SerializeToString()
    assert len(graph) < 1_000_000
    assert b"CC-MAIN" not in graph


@pytest.mark.parametrize("runner", ["DataflowRunner", "PrismRunner", "PortableRunner"])
def test_every_documented_option_exists_in_beam(runner):
    options = pipeline_options(documented(runner))
    known = PipelineOptions([]).get_all_options()
    asked = {option.split("=")[0].removeprefix("--") for option in documented(runner)}
    assert asked <= known.keys()
    assert options.get_all_options()["runner"] == runner


def test_the_documented_dataflow_command_has_disks_for_what_a_machine_spills():
    """Runs of line keys, their file and pages lie there together, until they are uploaded."""
    options = pipeline_options(documented("DataflowRunner"))
    cloud, worker = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    assert (cloud.project, cloud.region) == ("PROJECT", "REGION")
    assert cloud.staging_location == "gs://BUCKET/staging"
    assert worker.sdk_container_image.endswith("/worker:0.1.0")
    processes = int(worker.machine_type.rpartition("-")[2])
    lines_per_byte, key_in_file, pages_per_byte, system = 0.057, 21, 1.3, 25e9
    per_byte = lines_per_byte * (LINE_KEY.itemsize + key_in_file) + pages_per_byte
    assert processes * per_byte * 9e12 / MOST_SHARDS + system < worker.disk_size_gb * 1e9


def test_the_documented_commands_for_clusters_start_a_process_per_slot():
    """Beam's default is one, in which work items would wait for each other."""
    flink, spark = (
        pipeline_options(documented("PortableRunner", f"--job_endpoint=localhost:{port}"))
        for port in (8099, 8199)
    )
    (cores,) = re.findall(r"--spark-master-url='local\[(\d+)\]'", LAUNCH)
    processes = [int(one.view_as(PortableOptions).sdk_worker_parallelism) for one in (flink, spark)]
    assert processes == [flink.get_all_options()["parallelism"], int(cores)]
    assert min(processes) > 1


ELSEWHERE = (
    ["--runner=DataflowRunner"],
    ["--runner=dataflow"],
    ["--runner=PortableRunner"],
    ["--runner=FlinkRunner", "--flink_master=host:8081"],
    ["--runner=SparkRunner", "--spark_master_url=spark://host:7077"],
    ["--runner=PrismRunner", "--environment_type=DOCKER"],
)
SHARED = (
    [],
    ["--runner=PrismRunner"],
    ["--runner=FlinkRunner"],
    ["--runner=SparkRunner", "--environment_type=LOOPBACK"],
    ["--runner=FlinkRunner", "--flink_master=host:8081", "--environment_type=EXTERNAL"],
)


PLACES = {"input": ("gs://bucket/*.wet.gz",), "out": "gs://bucket/corpus"}


@pytest.mark.parametrize(
    "asked",
    [
        Clean(rules="mc4", **PLACES | {"input": ("here/*.wet.gz",)}),
        Clean(rules="mc4", **PLACES | {"out": "here/out"}),
        Clean(rules="mc4", **PLACES, language_identifier="here/model.bin"),
        Clean(rules="mc4", **PLACES, crawl_cache=Path("here/cache")),
        Score(corpus="gs://b/corpus", out="gs://b/scores", language_identifier="here/model.bin"),
    ],
    ids=str,
)
def test_paths_of_this_machine_are_refused_for_workers_elsewhere(tmp_path, monkeypatch, asked):
    """Their disks hold none of the input; the corpus would be empty or on a worker's disk."""
    monkeypatch.chdir(tmp_path)
    for given in ELSEWHERE:
        with pytest.raises(
            DataError, match=r"here.* a path of this machine, and workers \(.*\) ha"
        ):
            replace(asked, beam=tuple(given)).execute()
    assert not list(tmp_path.iterdir())


def test_workers_that_may_share_a_disk_are_accepted():
    for given in SHARED:
        check_workers_reach(pipeline_options(given), ["/shared/crawl/*.wet.gz", "/shared/corpus"])


def test_the_worker_image_has_the_pinned_beam_and_runs_as_the_user_of_beams_own():
    """Beam's boot program writes to /opt/apache before it starts Python."""
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    (beam_version,) = re.findall(r"ARG BASE=.*beam_python3\.11_sdk:(\S+)", IMAGE)
    assert f"apache-beam=={beam_version}\n" in pinned
    assert not re.findall(r"(?mi)^(?:USER|ENTRYPOINT)\b.*", IMAGE)


def packed(root: Path, out: Path) -> set[str]:
    (wheel,) = WheelBuilder(str(root)).build(directory=str(out), versions=["standard"])
    return {name for name in ZipFile(wheel).namelist() if "__pycache__" not in name}


def test_the_wheel_holds_every_module_and_table_also_that_of_the_worker_image(tmp_path):
    """Runs the steps of the image without Docker."""
    copies = (line.split() for line in IMAGE.splitlines() if line.startswith("COPY"))
    here = tmp_path / "mswitch"
    here.mkdir()
    for name in (name for copy in copies for name in copy[1:-1]):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (here / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, here / name)
    names = packed(ROOT, tmp_path / "checkout")
    assert packed(here, tmp_path / "image") == names
    packages = ("data", "model", "eval", "pipeline")
    files = (file for name in packages for file in (ROOT / name).rglob("*") if file.is_file())
    expected = {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}
    assert len(expected) > 100
    kinds = {Path(name).suffix for name in expected}
    assert kinds >= {".py", ".tsv", ".typed", ".j2", ".css", ".js"}
    assert expected <= names


@pytest.mark.slow
def test_an_estimate_of_the_whole_input_is_the_run(tmp_path, capsys):
    write(tmp_path / "archive")
    pattern = str(tmp_path / "archive/*.warc.wet.gz")
    files = input_files([pattern])
    assert estimate.sample(files, 1) == [files[0]]
    assert estimate.sample(files, 1 << 40) == files
    Estimate(input=(pattern,), rules="demo", price_per_core_hour=3600).execute()
    shown, said = capsys.readouterr()
    (pages,) = re.findall(r"pages +(\S+) +(\S+)", shown)
    assert pages[0] == pages[1] == "4,470"
    assert "100.0% of the input" in shown
    following = f"estimate: next: mswitch clean --input '{pattern}' --rules demo --out corpus"
    assert said.splitlines()[-1] == following


def test_an_estimate_of_a_crawls_list_goes_by_files():
    """A list has no sizes."""
    files = [InputFile(f"https://crawl.example/{n}.warc.gz", 120_000_000) for n in range(100)]
    assert len(estimate.sample(files, 10 * 120_000_000)) == 10
    some = estimate.sample(files, 1 << 20)
    assert estimate.share_of(some, files) == (0.01, "number of files")
    sized = [InputFile(f"/crawl/{n}", size) for n, size in enumerate((100, 300))]
    assert estimate.share_of(sized[:1], sized) == (0.25, "bytes")


def test_a_runner_that_did_nothing_is_an_error(tmp_path, monkeypatch):
    """As when workers cannot reach the output: the job succeeds and writes nothing."""
    write(tmp_path / "archive", itertools.islice(shipped_pages(), 9))
    pattern, out = f"{tmp_path}/archive/*.warc.wet.gz", tmp_path / "out"
    monkeypatch.setattr(clean, "run_job", lambda *_: None)
    with pytest.raises(DataError, match=r"\d+ work items of read in .*/out are missing"):
        Clean(input=(pattern,), rules="demo", out=str(out)).execute()
    assert not (out / "manifest.json").exists()
