"""Where a Beam job runs: on this machine, or where the options after `--` say.

The local runner is named because Beam's own default first tries to download another one. A small
job runs in this process; a larger one in as many worker processes as there are cores, which take 3
seconds to start. Options that the user gives come last and so win.
"""

import os
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline.local_runner import LocalRunner

LOCAL_RUNNER = ("--runner=FnApiRunner", "--default_sdk_harness_log_level=WARNING")
LARGE_INPUT_BYTES = 48 << 20  # some 12 s of work for one core


def pipeline_options(asked: Sequence[str], *, input_bytes: int = 0) -> PipelineOptions:
    """Returns the options of a job that reads so much."""
    cores = len(os.sched_getaffinity(0))
    workers = []
    if input_bytes >= LARGE_INPUT_BYTES and cores > 1:
        workers = ["--direct_running_mode=multi_processing", f"--direct_num_workers={cores}"]
    return PipelineOptions([*LOCAL_RUNNER, *workers, *asked])


def use(options: PipelineOptions) -> None:
    """Has this process reach the stores that the options describe, as the job's workers do."""
    FileSystems.set_options(options)


def pipeline_for(options: PipelineOptions) -> beam.Pipeline:
    """Returns an empty pipeline; from here on this process reads the stores that they describe."""
    use(options)
    if options.view_as(StandardOptions).runner == "FnApiRunner":
        return beam.Pipeline(runner=LocalRunner(options), options=options)
    return beam.Pipeline(options=options)
