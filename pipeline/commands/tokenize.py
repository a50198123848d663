"""`mswitch tokenize`: clean pages to token blocks, in the vocabulary's ids."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import BeamOptions, ByWorkers, Corpus, In, Out, Tokens, Vocabulary
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Tokenize(Stage):
    """Tokenize clean pages into token blocks (ArrayRecord) with tensorflow-text's SentencePiece.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--corpus corpus --vocabulary vocabulary --out tokens"

    corpus: In[tuple[Corpus, ...]]
    """Directories that `mswitch clean` or `mswitch select` wrote, local or on an object store."""
    vocabulary: In[Vocabulary]
    """Directory that `mswitch vocabulary` wrote, local or on an object store."""
    out: Out[str]
    """Directory for manifest.json and one folder of blocks per language; local or on an object
    store."""
    onto: Annotated[In[Tokens], ByWorkers()] | None = None
    """Tokens of the corpus that this one was added to (clean --onto): their blocks stay as they
    are, pages that left are skipped by a list, and only new pages are tokenized."""
    beam: BeamOptions = ()

    def check(self) -> None:
        """Checks that the vocabulary is named by its directory, not by its model."""
        from data.tokens.tokenizer import MODEL_FILE

        if self.vocabulary.endswith(f"/{MODEL_FILE}"):
            raise ArtifactError(
                f"--vocabulary was {self.vocabulary}, a file of a vocabulary; name its directory, "
                f"{self.vocabulary.removesuffix(f'/{MODEL_FILE}')}."
            )

    def jobs(self) -> Iterator[Job]:
        """Yields the job on all shards."""
        from pipeline.tokens.tokenize import tokenizing

        yield tokenizing(self.corpus, self.vocabulary, self.out, self.onto, self.beam)
