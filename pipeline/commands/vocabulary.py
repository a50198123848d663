"""`mswitch vocabulary`: a SentencePiece model of a corpus, or an existing one, as a vocabulary."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar

from model.config import ConfigurationError
from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import (
    CHARACTER_COVERAGE,
    MIXTURE,
    SAMPLE_CHARACTERS,
    Corpus,
    In,
    Out,
    Range,
)
from pipeline.stage import Job

OF_TRAINING = "corpus", "size", "mixture", "character_coverage", "sample_characters"


@dataclass(frozen=True, kw_only=True)
class Vocabulary(Stage):
    """Train a SentencePiece vocabulary on text sampled by the mixture, or adopt an existing one.

    Either --corpus and --size, or --model.
    """

    example: ClassVar = "--corpus corpus --size 32000 --out vocabulary"

    out: Out[Path]
    """Directory for sentencepiece.model and manifest.json."""
    corpus: In[tuple[Corpus, ...]] = ()
    """Directories that `mswitch clean` or `mswitch select` wrote, local or on an object store."""
    size: int = 0
    """Total number of ids: pieces, bytes, control symbols and the 100 sentinels."""
    model: Path | None = None
    """Existing SentencePiece model in T5's layout, such as mT5's, instead of training; sentinels
    are appended if it has none, and those that are ordinary pieces become control pieces."""
    mixture: str = MIXTURE
    """temperature:ALPHA over pages (mT5: 0.3), proportional, uniform, unimax:EPOCHS:CHARACTERS
    (umT5: unimax:1:4657152000000; CHARACTERS is the text of the run: steps x rows x raw window
    x 4), or weights:FILE (JSON {"sw": 0.5, ...}, or one language, tab and weight per line)."""
    character_coverage: Annotated[float, Range(least=0.98, most=1)] = CHARACTER_COVERAGE
    """Share of characters that get a piece of their own; the rest falls back to bytes."""
    sample_characters: Annotated[int, Range(least=1)] = SAMPLE_CHARACTERS
    """Largest number of characters to train on."""

    def check(self) -> None:
        """Checks that one of the two ways is asked for, and the size or the model."""
        from data.tokens.tokenizer import LEAST_IDS, MOST_IDS, load_any

        if self.model is not None:
            of_training = (field for field in fields(self) if field.name in OF_TRAINING)
            given = [field for field in of_training if getattr(self, field.name) != field.default]
            if given:
                raise ArtifactError(
                    f"--model {self.model} was given together with "
                    f"--{given[0].name.replace('_', '-')}, which trains another vocabulary; give "
                    "one or the other."
                )
            if not self.model.exists():
                load_any(self.model)
        elif not (self.corpus and self.size):
            raise ArtifactError(
                "A vocabulary was asked for without --model and without both of --corpus and "
                "--size; give the last two to train one, or --model to take an existing one."
            )
        elif not LEAST_IDS <= self.size <= MOST_IDS:
            raise ConfigurationError(
                f"--size was {self.size}; give a number at least {LEAST_IDS}, sentinels, bytes "
                f"and a piece, and at most {MOST_IDS}, where SentencePiece begins."
            )

    def jobs(self) -> Iterator[Job]:
        """Yields the training, or the adoption of the model."""
        from pipeline.tokens.vocabulary import adoption, training

        if self.model is not None:
            yield adoption(self.model, self.out)
        else:
            yield training(
                self.corpus,
                self.out,
                size=self.size,
                mixture=self.mixture,
                coverage=self.character_coverage,
                sampled=self.sample_characters,
            )
