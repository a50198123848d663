"""The words and labels of fastText models; their loader is C++, and runs in a trial of its own."""

from pathlib import Path

from declarations import SIX_LANGUAGES
from family import Family, Read
from raw_fasttext import PRUNED, arguments, dense, model, quantized

from data.language_id.fasttext import read_entries

SEEDS = (
    SIX_LANGUAGES.read_bytes(),
    model(head=arguments(loss=1)),
    model(matrices=quantized(6, 2) + dense(2, 2)),
    PRUNED,
)


def read_model(path: Path) -> Read:
    return Read(sum(map(len, read_entries(path)[0])), False)


FAMILIES = (Family(name="language identifier", file="model.bin", seeds=SEEDS, read=read_model),)
