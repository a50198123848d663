"""`mswitch import-hf`: a Transformers T5, mT5 or Switch model becomes a run at step 0."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from pipeline.command import Stage, check_value
from pipeline.fields import Out, Range, RunPlace
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class ImportHf(Stage):
    """Import a Transformers T5, mT5 or Switch model and its vocabulary as a run."""

    example: ClassVar = "mt5-small --out runs/mt5-small"

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory with config.json, *.safetensors and spiece.model."""
    out: Out[RunPlace]
    """The run's directory; its only checkpoint is step 0."""
    inputs: int = 512
    """Input tokens per row, in evaluation and in further training."""
    rows: int = 32
    """Rows per batch."""

    def check(self) -> None:
        """Checks the length of a row, and that the directory has the files of a model."""
        from data.examples.span_corruption import LEAST_INPUTS, MOST_INPUTS
        from pipeline.runs.transformers_files import weight_files

        check_value("--inputs", Range(least=LEAST_INPUTS, most=MOST_INPUTS), self.inputs)
        weight_files(self.directory)

    def jobs(self) -> Iterator[Job]:
        """Yields the job that writes the run."""
        from pipeline.training.importing import importing

        yield importing(self.directory, self.out, self.inputs, self.rows)
