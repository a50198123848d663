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
    found = {
        name: [Path(file.path).stem for file in some]
        for name, some in old.files_added(files).items()
    }
    assert found == {"en/train": [there[2]], "sw/train": [*there]}
