"""fastText models, which their check refuses or their loader loads."""

from pathlib import Path

from declarations import SIX_LANGUAGES
from family import Family, Read
from raw_fasttext import PRUNED, arguments, dense, model, quantized

from data.language_id.fasttext import FastTextIdentifier
from data.language_id.fasttext_file import memory_to_load

SEEDS = (
    SIX_LANGUAGES.read_bytes(),
    model(head=arguments(loss=1)),
    model(matrices=quantized(6, 2) + dense(2, 2)),
    PRUNED,
)


def read_model(path: Path) -> Read:
    FastTextIdentifier(path)
    return Read(memory_to_load(path), False)


FAMILIES = (Family(name="language identifier", file="model.bin", seeds=SEEDS, read=read_model),)
