"""Options and runners of a Beam job: the local runner by default, or the options after `--`.

The local runner is named because Beam's own default first tries to download another one. A small
job runs in this process; a larger one in one worker process per core, which take 3 seconds to
start. Beam would start them without any of the options, and with their logs on the terminal. Here
they are `pipeline.beam.local_worker` and receive the options. The user's options come last and so
take precedence.

**Options of stores** describe where a store is. No keys are among them (`pipeline.terminal`): each
process takes its own from its environment or from a credential file. Beam passes a job's options to
the workers of some runners and not to others (a pool of workers receives none), so the options
travel with the functions that need them.

**Loopback.** Beam (2.77.0) lets the servers of its embedded runner, of its worker processes' logs
and of its pool of workers listen on all interfaces, without authentication, and offers no option
for it. Whoever reached one could read the job's settings and graph, and could start programs
through a pool. All of these servers come from `grpc.server` in four modules of Beam; these get one
that binds to loopback.

**Views.** Beam asks for a view of its options three times per transform, and builds and runs an
argument parser for each: 0.3 to 0.9 ms, a twelfth of the CPU time of adding 9 MB of text to 90. All
views of one object share its values, so a remembered view is as good as a new one.
"""

import contextlib
import difflib
import itertools
import logging
import os
import re
import shlex
import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, TypeVar

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    S3Options,
    SparkRunnerOptions,
    StandardOptions,
)
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job import utils
from apache_beam.runners.portability import abstract_job_service, local_job_service
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
    FnApiRunner,
)
from apache_beam.runners.worker import worker_pool_main

from data.errors import DataError
from data.files.paths import is_remote
from data.files.stores import StoreOptions, set_options
from pipeline.beam.local_worker import line_to_workers
from pipeline.stopping import signals_came
from pipeline.terminal import refuse


def store_options(options: PipelineOptions) -> StoreOptions:
    """Returns a job's options for each kind of store."""
    google = _google(options)
    return {"s3": _s3(options), "gs": google, "gcs": google}


def use_store_options(options: PipelineOptions) -> None:
    """Sets this process's object-store options to those of a job, as its workers do."""
    set_options(store_options(options))


def _s3(options: PipelineOptions) -> dict[str, Any]:
    given = options.view_as(S3Options)
    client = _without_none(
        region_name=given.s3_region_name, api_version=given.s3_api_version, verify=given.s3_verify
    )
    return _without_none(
        endpoint_url=given.s3_endpoint_url,
        use_ssl=False if given.s3_disable_ssl else None,
        client_kwargs=client or None,
    )


def _google(options: PipelineOptions) -> dict[str, Any]:
    given = options.view_as(GoogleCloudOptions)
    return _without_none(project=given.project, token="anon" if given.no_auth else None)


def _without_none(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


View = TypeVar("View", bound=PipelineOptions)
VIEWS = "_views"


class RememberedViews(PipelineOptions):
    """Beam's options with a memory of their views."""

    def view_as(self, cls: type[View]) -> View:
        """Returns the options as those of a class, the same object at every call."""
        views = self.__dict__.setdefault(VIEWS, {})  # Beam refuses unknown attributes
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]

    def __getstate__(self) -> dict[str, object]:
        """Returns what is copied or sent, which a view of the original would not follow."""
        return {name: value for name, value in super().__getstate__().items() if name != VIEWS}


ALL_INTERFACES = "[::]"
LOOPBACK = "127.0.0.1"  # clients connect to "localhost"
SERVE = (abstract_job_service, local_job_service, worker_handlers, worker_pool_main)


class LoopbackGrpc:
    """The module `grpc`, as Beam's servers see it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)

    @staticmethod
    def server(*arguments: Any, **settings: Any) -> grpc.Server:
        """Returns a server that binds to loopback where it is asked to bind to all interfaces."""
        made = grpc.server(*arguments, **settings)
        vars(made)["add_insecure_port"] = _on_loopback(made.add_insecure_port)
        return made


def bind_to_loopback() -> None:
    """Makes every server that Beam starts in this process from now on listen on loopback only."""
    for module in SERVE:
        vars(module)["grpc"] = LoopbackGrpc()


def _on_loopback(bind: Callable[[str], int]) -> Callable[[str], int]:
    @wraps(bind)
    def bound(address: str) -> int:
        return bind(address.replace(ALL_INTERFACES, LOOPBACK))

    return bound


# Interrupts the main thread, which waits on a lock. A shell's background jobs ignore SIGINT.
WAKE = signal.SIGUSR1
# What a worker logs, within the runner's record of it (Beam 2.77.0): a protocol buffer as text.
LOGGED = re.compile(r' message: "((?:[^"\\]|\\.)*)"')
KILLED = ("-9", "137")  # SIGKILL, as Python and as a shell report it
# Ctrl-C and a closed terminal are the runner's, also while a worker starts. -P: a folder named data
# in the working directory is not our package.
WORKER = f"trap '' INT HUP; exec {shlex.quote(sys.executable)} -P -m pipeline.beam.local_worker"


class LocalRunner(FnApiRunner):
    """The embedded runner for one job."""

    def __init__(self, options: PipelineOptions):
        given = options.get_all_options(drop_default=True, retain_unknown_options=True)
        # Numbers would travel as floats, and a worker that parses "2.0" as an int fails.
        as_text = {k: str(v) if type(v) in (int, float) else v for k, v in given.items()}
        info = beam_provision_api_pb2.ProvisionInfo(
            retrieval_token="unused-retrieval-token",
            pipeline_options=utils.dict_to_struct(as_text),
        )
        super().__init__(provision_info=ExtendedProvisionInfo(info))

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        """Runs the graph with worker processes of `pipeline.beam.local_worker`."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = WORKER.encode()
        logging.getLogger(local_job_service.__name__).addFilter(as_the_worker_logs)
        with line_to_workers(), interrupted_if_a_worker_ends():
            return super().run_via_runner_api(pipeline_proto, options)


def as_the_worker_logs(record: logging.LogRecord) -> bool:
    """Shortens the runner's record of what a worker logs to its message; shows all records."""
    if logged := LOGGED.search(record.getMessage()):
        escaped = logged[1].encode().decode("unicode_escape")
        record.msg, record.args = escaped.encode("latin-1").decode("utf-8", "replace"), ()
        record.name = "worker"
    return True


class WorkerEnded(RuntimeError):
    """A worker process that ended before its work was finished."""


@contextlib.contextmanager
def interrupted_if_a_worker_ends() -> Iterator[None]:
    """Ends the wait for a worker process that was killed; Beam would wait for it forever.

    Raises:
        WorkerEnded: if a worker process ends with a status other than 0.
    """
    before, ended = threading.excepthook, []

    def note(error: threading.ExceptHookArgs) -> None:
        if error.thread is not None and error.thread.name == "run_worker":
            ended.append(str(error.exc_value))
            # One signal: a second could arrive after the handler is removed.
            if len(ended) == 1 and not signals_came():
                os.kill(os.getpid(), WAKE)
        else:
            before(error)

    def wake(*_: object) -> None:
        if signals_came():  # which ends the command by itself
            return
        raise WorkerEnded(how_it_ended(ended[0]))

    threading.excepthook, former = note, signal.signal(WAKE, wake)
    try:
        yield
    finally:
        threading.excepthook = before
        signal.signal(WAKE, former)


def how_it_ended(reason: str) -> str:
    """Returns a sentence about a worker process that ended; `reason` ends with its status."""
    status = reason.rpartition(" ")[2]
    if status in KILLED:
        return (
            f"A worker process was killed (status {status}), as is done when memory is short; run "
            "fewer, for example -- --direct_num_workers=1."
        )
    return f"A worker process ended before its work did ({reason}); report this."


# WARN: Python's WARNING stops every Java job server, which knows no level of that name.
DEFAULTS = ("--runner=FnApiRunner", "--default_sdk_harness_log_level=WARN")
LOCAL = ("direct", "fnapi", "bundlebaseddirect", "switchingdirect")  # Beam's names of runners here
LARGE_INPUT_BYTES = 48 << 20  # some 12 s of work for one core


def pipeline_options(given: Sequence[str], *, input_bytes: int = 0) -> PipelineOptions:
    """Returns the options of a job that reads `input_bytes`, with the user's options last.

    Raises:
        DataError: if an option holds a credential or is unknown.
    """
    refuse(given)
    check_known(given)
    if _runner(given) in LOCAL:  # Beam's DirectRunner would hold whole groupings, or be Prism
        given = [*given, "--runner=FnApiRunner"]
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
    left = parser.parse_known_args([*given])[1]
    has_more = _runner(given) in ("flink", "spark", "portable", "prism")
    if any(word.startswith("--no_wait_until_finish") for word in given):
        raise DataError(
            "--no_wait_until_finish was given, and a command ends with its job; omit it."
        )
    for before, word in itertools.pairwise(["", *left]):
        if not (word.startswith("--") or (has_more and before.startswith("--"))):
            raise DataError(f"{word} was given after -- and does not begin with --, as options do.")
    for name in (word.partition("=")[0] for word in left if word.startswith("--")):
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.9 if has_more else 0.6)
        if near or not has_more:
            offer = f". Did you mean {' or '.join(near)}?" if near else "; leave it out."
            raise DataError(f"{name} was given after -- and is not an option of Beam{offer}")


def _runner(given: Sequence[str]) -> str:
    """Returns the name of the runner that options name, such as `flink`; Beam ignores its case."""
    name = PipelineOptions([*given]).view_as(StandardOptions).runner or ""
    return name.rpartition(".")[2].lower().removesuffix("runner")


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


def pipeline_for(options: PipelineOptions) -> beam.Pipeline:
    """Returns an empty pipeline, and sets this process's store options to the job's.

    Servers that Beam starts for it on this machine listen on loopback.

    Raises:
        DataError: if the runner rejects the options.
    """
    use_store_options(options)
    bind_to_loopback()
    try:
        return beam.Pipeline(LocalRunner(options) if runs_here(options) else None, options)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"Beam rejects the options after -- ({reason}); see docs/launch.md."
        ) from error
