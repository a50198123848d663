"""Where a Beam job runs: on this machine, or where the options after `--` say.

The local runner is named because Beam's own default first tries to download another one. A small
job runs in this process; a larger one in as many worker processes as there are cores, which cost 3
seconds to start. Options that the user gives come last and so win.
"""

import os
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

LOCAL_RUNNER = "--runner=FnApiRunner"
LARGE_INPUT_BYTES = 48 << 20  # some 12 s of work for one core


def pipeline_options(asked: Sequence[str], *, input_bytes: int = 0) -> PipelineOptions:
    """Returns the options of a job that reads so much."""
    cores = os.cpu_count() or 1
    workers = []
    if input_bytes >= LARGE_INPUT_BYTES and cores > 1:
        workers = ["--direct_running_mode=multi_processing", f"--direct_num_workers={cores}"]
    return PipelineOptions([LOCAL_RUNNER, *workers, *asked])
