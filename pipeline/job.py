"""A Beam job from its first moment to its last, and what its failure means to the user."""

import contextlib
import re
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from data.errors import DataError
from pipeline.beam_options import pipeline_for

# The last line of a worker's traceback, if it is of this kind.
MENDABLE = re.compile(r"(?:DataError|Damaged|OSError|PermissionError|WorkerEnded): (.+)")


@contextlib.contextmanager
def running(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """Gives a pipeline that runs when the block has ended, here or where the options say.

    Raises:
        DataError: a worker met something that its user can mend, such as a full disk.
    """
    try:
        with pipeline_for(options) as pipeline:
            yield pipeline
    except Exception as error:  # Beam makes a RuntimeError of whatever a worker raises
        raise told(error) from error


def told(error: Exception) -> Exception:
    """Returns what a worker's error means for the user, or the error itself if it is a fault."""
    found = MENDABLE.findall(f"{type(error).__name__}: {error}")
    if not found:
        return error
    sentence = found[-1].split(" [while running")[0]
    return DataError(f"{sentence} (The same command goes on where the run stopped.)")
