"""Options of a Beam job: the local runner by default, or those after `--` on the command line.

The local runner is named because Beam's own default first tries to download another one. A small
job runs in this process; a larger one in one worker process per core, which take 3 seconds to
start. The user's options come last and so take precedence.
"""

import difflib
import os
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.runner import PipelineResult

from data.errors import DataError
from data.files.paths import is_remote
from pipeline.beam.local_runner import LocalRunner
from pipeline.beam.loopback import bind_to_loopback
from pipeline.beam.option_views import RememberedViews
from pipeline.beam.store_options import use_store_options
from pipeline.credentials import refuse

# WARN: Python's WARNING stops every Java job server, which knows no level of that name.
DEFAULTS = ("--runner=FnApiRunner", "--default_sdk_harness_log_level=WARN")
LARGE_INPUT_BYTES = 48 << 20  # some 12 s of work for one core


def pipeline_options(given: Sequence[str], *, input_bytes: int = 0) -> PipelineOptions:
    """Returns the options of a job that reads `input_bytes`, with the user's options last.

    Raises:
        DataError: if an option holds a credential or is unknown.
    """
    refuse(given)
    check_known(given)
    cores = len(os.sched_getaffinity(0))
    workers = []
    if input_bytes >= LARGE_INPUT_BYTES and cores > 1:
        workers = ["--direct_running_mode=multi_processing", f"--direct_num_workers={cores}"]
    return RememberedViews([*DEFAULTS, *workers, *given])


def check_known(given: Sequence[str]) -> None:
    """Checks that Beam has the options that were given; Beam itself ignores unknown ones.

    Job servers of Flink, Spark and Prism have more options than Beam's Python package knows. With
    these runners only an option that is nearly one of Beam's is refused.

    Raises:
        DataError: if an option is unknown; the message offers near matches.
    """
    parser, known = _known()
    unknown = [one for one in parser.parse_known_args([*given])[1] if one.startswith("--")]
    server = PipelineOptions([*given]).view_as(StandardOptions).runner or ""
    has_more = server.lower().removesuffix("runner") in ("flink", "spark", "portable", "prism")
    for name in (one.partition("=")[0] for one in unknown):
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.9 if has_more else 0.6)
        if near or not has_more:
            offer = f". Did you mean {' or '.join(near)}?" if near else "; leave it out."
            raise DataError(f"{name} was given after -- and is not an option of Beam{offer}")


def known_options() -> list[str]:
    """Returns the names of Beam's options, such as `--runner`."""
    return _known()[1]


def _known() -> tuple[ArgumentParser, list[str]]:
    parsers: list[ArgumentParser] = []
    names = PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    return parsers[0], [f"--{name}" for name in names]


def runs_here(options: PipelineOptions) -> bool:
    """Returns whether the job runs on the embedded runner, which holds groupings in memory."""
    return options.view_as(StandardOptions).runner == "FnApiRunner"


def in_process(options: PipelineOptions) -> PipelineOptions:
    """Returns the options of a small job: the embedded runner starts no worker processes for it."""
    given = options.get_all_options(drop_default=True, retain_unknown_options=True)
    if not runs_here(options):
        return options
    alone = {"direct_running_mode": "in_memory", "direct_num_workers": 1}
    return RememberedViews.from_dictionary(given | alone)


def check_workers_reach(options: PipelineOptions, paths: Iterable[str]) -> None:
    """Checks that workers reach the paths.

    Processes that the user started on other machines may share a disk with this one, so local
    paths pass; Dataflow's machines and containers share none.

    Raises:
        DataError: if workers have disks of their own and one of the paths is local.
    """
    where = _disks_of_their_own(options)
    here = [path for path in paths if not is_remote(path) or path.startswith("file://")]
    if where and here:
        raise DataError(
            f"{here[0]!r} was given, a path of this machine, and workers ({where}) have disks of "
            "their own; put it on an object store (gs://..., s3://...) if its option takes one, or "
            "run the job here."
        )


def _disks_of_their_own(options: PipelineOptions) -> str:
    """Returns why workers see no disk of this machine; "" if they may see it."""
    runner = (options.view_as(StandardOptions).runner or "").rpartition(".")[2]
    name = runner.lower().removesuffix("runner")
    if name == "dataflow":
        return runner
    kind = options.view_as(PortableOptions).environment_type
    if kind is None and name in ("flink", "spark", "portable"):
        kind = "LOOPBACK" if _is_started_here(name, options) else "DOCKER"  # Beam's own defaults
    return f"{runner}, {kind}" if "docker" in (kind or "").lower() else ""


def _is_started_here(name: str, options: PipelineOptions) -> bool:
    flink = options.view_as(FlinkRunnerOptions).flink_master
    spark = options.view_as(SparkRunnerOptions).spark_master_url
    local = {"flink": flink in ("[auto]", "[local]"), "spark": spark.startswith("local")}
    return local.get(name, False)


Follow = Callable[[PipelineResult], None]


class FollowedPipeline(beam.Pipeline):
    """A pipeline that passes its job to `follow` as soon as it is submitted."""

    def __init__(self, follow: Follow, **settings: Any):
        super().__init__(**settings)
        self._follow = follow

    def run(self, test_runner_api: Any = "AUTO") -> PipelineResult:
        """Submits the job; with the local runner it has ended afterwards."""
        result = super().run(test_runner_api)
        self._follow(result)
        return result


def pipeline_for(options: PipelineOptions, follow: Follow = lambda _: None) -> beam.Pipeline:
    """Returns an empty pipeline, and sets this process's store options to the job's.

    Servers that Beam starts for it on this machine listen on loopback.

    Raises:
        DataError: if the runner rejects the options.
    """
    use_store_options(options)
    bind_to_loopback()
    if runs_here(options):
        return FollowedPipeline(follow, runner=LocalRunner(options), options=options)
    try:
        return FollowedPipeline(follow, options=options)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"Beam rejects the options after -- ({reason}); see docs/launch.md."
        ) from error
