"""`mswitch prune`: experts and pieces of a run that some languages use, as a smaller run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions, FinishedRun, In, Languages, Out, Range, RunPlace, Tokens
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Prune(Stage):
    """Keep what some languages use of a run: its experts, its vocabulary; the result is a run.

    An expert's importance is the sum of its gates per token, as the run's evaluation recorded it:
    how often the languages use it, times how much of its output counts.
    """

    example: ClassVar = "--run runs/switch --languages sw yo --keep 0.25 --out runs/small"

    run: In[FinishedRun]
    """Finished or imported run; for --keep with experts, and evaluated on held-out pages of the
    languages."""
    languages: Languages
    """Languages that the run is to serve (mC4 codes, aliases or English names, with spaces or
    commas between); each weighs the same."""
    out: Out[RunPlace]
    """The pruned run's directory: recipe.json, one checkpoint without training, manifest.json."""
    keep: Annotated[float, Range(above=0, most=1)] | None = None
    """Share of each layer's experts to keep, above 0 and at most 1, rounded up to whole experts;
    all stay if left out."""
    trim: Annotated[int, Range(least=0)] | None = None
    """Trim the vocabulary: number of times that a piece of text has to occur in the training tokens
    of the languages (--tokens) to stay; 0 for all pieces in characters that occur. Text whose
    pieces stay is cut as before."""
    merge: bool = False
    """Merge dropped experts into the kept ones, weighted by load (MC-SMoE)."""
    tokens: In[Tokens] = ""
    """Directory that `mswitch tokenize` wrote, or its address on an object store. With --trim its
    pieces are counted. With --keep the last matrix of each kept expert is fitted, by least squares,
    to what all experts computed on training text of the languages. Without it no text is read."""
    step: int | None = None
    """Step of the checkpoint to prune; the best or the last one if left out."""
    cache: CacheOptions = field(default=CacheOptions())

    def check(self) -> None:
        """Checks that something is to be pruned, and that there is text to trim by."""
        if self.trim is not None and not self.tokens:
            raise ArtifactError(
                f"--trim {self.trim} keeps the pieces that training tokens have so often; give the "
                "tokens (--tokens DIR)."
            )
        if self.keep is None and (self.trim is None or self.merge):
            raise ArtifactError(
                f"{self.run} was to be pruned{' with --merge' if self.merge else ''}, without a "
                "share of experts to keep; give --keep, or --trim alone."
            )

    def jobs(self) -> Iterator[Job]:
        """Yields the job that writes the pruned run."""
        from pipeline.training.pruning import pruning

        yield pruning(
            self.run,
            self.out,
            self.languages,
            keep=self.keep,
            merge=self.merge,
            least_count=self.trim,
            tokens=self.tokens,
            step=self.step,
            cache=self.cache,
        )
