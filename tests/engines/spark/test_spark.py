"""`clean` and `tokenize` on Spark with a heap of 512 MB, and workers that hold only the wheel."""

import pytest

RULES = "mswitch-web"


@pytest.fixture(scope="module")
def on_spark(documented, spark, worker_pool) -> list[str]:
    return documented("localhost:8199", job_endpoint=spark, environment_config=worker_pool)


def test_spark_writes_the_same_corpus(cleaned_by_one, cleaned, on_spark):
    assert cleaned("spark", RULES, *on_spark) == cleaned_by_one


@pytest.mark.slow
def test_spark_writes_the_same_bytes(written_by_one, written, on_spark):
    assert written("spark", on_spark) == written_by_one


@pytest.mark.slow
def test_an_exchange_larger_than_the_heap_is_spilled(
    clean_short_pages, short_pages_by_one, on_spark, digests, tmp_path
):
    """Of 32 partitions two are in work, and their sort spills."""
    assert clean_short_pages(tmp_path / "corpus", on_spark).wait() == 0
    assert digests(tmp_path / "corpus") == short_pages_by_one
