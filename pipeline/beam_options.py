"""Where a Beam job runs: what stands after `--`, or else a local run fit for the input's size.

The runner is named because Beam's own default first tries to download another one.
"""

from apache_beam.options.pipeline_options import PipelineOptions

RUNNER = ("--runner=FnApiRunner",)
TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def pipeline_options(
    asked: tuple[str, ...], *, input_bytes: int, small_bytes: int
) -> PipelineOptions:
    """Returns the options of a job.

    Args:
        asked: what the user gave after `--`; counts as it stands.
        input_bytes: size of the input.
        small_bytes: up to here one process is faster than starting two.
    """
    workers = TWO_PROCESSES if input_bytes > small_bytes and not asked else ()
    return PipelineOptions([*RUNNER, *workers, *asked])
