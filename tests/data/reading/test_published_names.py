import pytest

from data.reading.published_names import Published, published_as


@pytest.mark.parametrize(
    "name, language, split",
    [
        ("c4-sw.tfrecord-00000-of-00002.json.gz", "sw", "train"),
        ("c4-zh-Latn-validation.tfrecord-00000-of-00001.json.gz", "zh-Latn", "validation"),
        ("c4-validation.00000-of-00008.json.gz", "en", "validation"),
        ("c4-und.tfrecord-00000-of-00002.json.gz", None, "train"),
        ("train-00000-of-00002.parquet", None, "train"),
        ("test-00000-of-00002.parquet", None, "test"),
        ("swahili.jsonl.gz", None, ""),
    ],
)
def test_names_hold_language_and_split(name, language, split):
    assert published_as(name) == Published(language, split)
