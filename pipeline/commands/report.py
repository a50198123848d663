"""`mswitch report`: what the candidate gains over the baseline, per language."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar

from pipeline.command import Stage
from pipeline.fields import Corpus, In, Out, Run, RunPlace, Tokens
from pipeline.reporting.sources import Sources
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Report(Stage):
    """Compare runs per language: report.json, languages.csv, report.md, index.html."""

    example: ClassVar = "--baseline runs/mt5 --candidate runs/switch --out report"

    baseline: In[tuple[Run, ...]]
    """Runs of the dense baseline, one per seed. Runs of other widths or layers are networks of
    their own, each compared with the candidate; the verdict is over the one named first."""
    candidate: In[tuple[Run, ...]]
    """Runs of the candidate, one per seed. Further networks are points of the picture of costs."""
    out: Out[RunPlace]
    """Directory for the report."""
    student: In[tuple[Run, ...]] = ()
    """Dense runs distilled from the candidate, for the share of its gain that they keep. Runs of
    one recipe name are seeds of one student."""
    also: tuple[str, ...] = ()
    """NAME=RUN of further models beside the two sides: losses by language, each with its gain over
    the baseline. Words of one name are seeds of one model."""
    baseline_tasks: In[tuple[RunPlace, ...]] = ()
    """Runs that `mswitch finetune` made from the baseline's, for its scores on tasks. Seeds and
    training languages are those of each run's recipe; with --candidate-tasks."""
    candidate_tasks: In[tuple[RunPlace, ...]] = ()
    """Runs that `mswitch finetune` made from the candidate's, on the same tasks and languages."""
    corpus: In[Corpus] | None = None
    """Directory that `mswitch clean` wrote, local or on an object store, for the funnel and for
    the lines that held-out pages share with training pages."""
    tokens: In[Tokens] | None = None
    """Directory that `mswitch tokenize` wrote, local or on an object store, for training tokens
    and fertility."""
    step_times: In[RunPlace] | None = None
    """Directory that `mswitch time` wrote, of a run of each side, for the time speed-up."""
    allow_differences: bool = False
    """Compare runs that differ beyond the feed-forward; the report lists the differences. Runs of
    different vocabularies, such as an imported mT5, are compared in bits per byte."""

    @property
    def sources(self) -> Sources:
        """What is compared."""
        return Sources(**{field.name: getattr(self, field.name) for field in fields(Sources)})

    def check(self) -> None:
        """Checks that each run is named once."""
        self.sources.check()

    def jobs(self) -> Iterator[Job]:
        """Yields the comparison."""
        from pipeline.reporting.report import reporting

        yield reporting(self.sources, self.out, differences_allowed=self.allow_differences)
