"""Which files of a corpus are tokenized when its earlier pages are."""

from pathlib import Path
from types import SimpleNamespace

from pipeline.tokens.write import Onto


def test_all_files_of_a_language_that_the_old_tokens_lack_are_new():
    """One that had held-out pages alone was in no tokens, and its pages are in the corpus."""
    there = ("train-00000-of-00001", "validation-00000-of-00001", "train-added-001-00000-of-00001")
    files = {
        f"{code}/train": [
            SimpleNamespace(path=f"corpus/pages/{code}/{name}.parquet") for name in there
        ]
        for code in ("en", "sw")
    }
    old = Onto("tokens", SimpleNamespace(languages={"en": {}}), 0, "corpus")
    added = old.files_added(files)
    assert [[Path(file.path).stem for file in added[name]] for name in files] == [
        [there[2]],
        [*there],
    ]
