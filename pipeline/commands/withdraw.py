"""`mswitch withdraw`: removes domains or pages from a corpus, in place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import BeamOptions, Corpus, In
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Withdraw(Stage):
    """Remove domains or pages from a corpus; only the files that hold them are written again.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--corpus corpus --sites sites.txt --reason 'asked by their owners'"

    corpus: In[Corpus]
    """Directory that `mswitch clean` or `mswitch select` wrote, local or on an object store."""
    sites: tuple[str, ...]
    """Files of domains and addresses to remove, one per line, plain or .gz."""
    reason: str
    """Reason, which the manifest keeps."""
    beam: BeamOptions = ()

    def check(self) -> None:
        """Checks that there is a reason."""
        if not self.reason.strip():
            raise ArtifactError("withdraw was given an empty --reason; say why, for the manifest.")

    def jobs(self) -> Iterator[Job]:
        """Yields the job on all files of the corpus."""
        from pipeline.curation.withdraw import withdrawing

        yield withdrawing(self.corpus, self.sites, self.reason, self.beam)
