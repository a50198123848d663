"""Which files of pages each shard of token blocks is made of: a language's, in order."""

from collections.abc import Mapping, Sequence

from pipeline.beam.packing import packed
from pipeline.corpus.pages import PageFile, page_files, training_pages
from pipeline.tokens.onto import Onto, generation_of
from pipeline.tokens.write_shards import PageShard

SHARD_BYTES = 256_000_000  # of page files per shard; a shard must fit a worker's memory
SPLITS = ("train", "validation")


def split_files(corpora: Sequence[str]) -> dict[str, list[PageFile]]:
    """Returns the files of pages, language by language and split by split (`sw/train`)."""
    return {
        f"{language}/{split}": page_files(corpora, language, split)
        for language in training_pages(corpora)
        for split in SPLITS
    }


def page_shards(files: Mapping[str, Sequence[PageFile]]) -> list[PageShard]:
    """Returns the files of each shard, from the files of each language and split."""
    return [shard for name, some in files.items() for shard in _shards(name, some)]


def added_shards(files: Mapping[str, Sequence[PageFile]], onto: Onto) -> list[PageShard]:
    """Returns the files of each new shard; those of a language with blocks follow these."""
    named: dict[str, Sequence[PageFile]] = {}
    for name, some in files.items():
        if name.partition("/")[0] not in onto.manifest.languages:
            named[name] = some
        elif some:
            number = max(generation_of(file.path) for file in some)
            named[f"{name}-added-{number:03d}"] = some
    return page_shards(named)


def _shards(prefix: str, files: Sequence[PageFile]) -> list[PageShard]:
    groups = packed(files, SHARD_BYTES) or [[]]  # a split without pages has one empty shard
    return [
        PageShard(f"{prefix}-{number:05d}-of-{len(groups):05d}", tuple(f.path for f in group))
        for number, group in enumerate(groups)
    ]
