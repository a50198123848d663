"""The manifest of a corpus, by whichever command wrote it: `clean` or `select`."""

from pathlib import Path

from data.corpus_manifest import CorpusManifest
from data.rules.rule_sets import none
from pipeline.artifacts.claims import read_manifest, stage_of

CLEAN, SELECT = "clean", "select"


def corpus_stage(directory: Path | str) -> str:
    """Returns the command that wrote a corpus; `clean` where no command finished the directory.

    Raises:
        DataError: if its manifest is damaged.
    """
    return SELECT if stage_of(directory) == SELECT else CLEAN


def read_corpus(directory: Path | str) -> CorpusManifest:
    """Returns the manifest of a corpus.

    Raises:
        ArtifactError: if the directory is no finished corpus.
        DataError: if its manifest is damaged.
    """
    return read_manifest(directory, corpus_stage(directory), CorpusManifest)


def has_unique_lines(corpus: CorpusManifest) -> bool:
    """Returns whether cleaning left each line in one page, as all rules do but `none`."""
    return corpus.rules.name != none().name
