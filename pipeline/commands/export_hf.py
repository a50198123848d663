"""`mswitch export-hf`: a run's network and vocabulary as a directory that Transformers loads."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.command import Stage
from pipeline.fields import Hosts, In, License, Out, Run, RunPlace
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class ExportHf(Stage):
    """Export a run's network and vocabulary as files that Transformers loads."""

    example: ClassVar = "--run runs/switch --out exported"

    run: In[Run]
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    out: Out[RunPlace]
    """Directory for config.json, model.safetensors (from 5 GB on several files), spiece.model and
    tokenizer.json."""
    step: int | None = None
    """Step of the checkpoint to export; the best or the last one if left out."""
    license: License | None = None
    """Licence that the model card declares, by the hub's name (apache-2.0, ...)."""
    hosts: Hosts = field(default_factory=Hosts)

    def jobs(self) -> Iterator[Job]:
        """Yields the job that writes the export."""
        from pipeline.runs.export import exporting

        yield exporting(self.run, self.out, self.step, self.license)
