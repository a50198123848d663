"""From raw archives on S3 to a report, with everything but the runs on S3: equal to a local disk.

The local run reads the same archives from S3, so that even its manifest is the same.
"""

import json
import re
from pathlib import Path

import pytest

CLEAN = ("clean", "--rules=mswitch-web", "--validation-share=0.1", "--validation-minimum=2")
VOCABULARY = ("--size=3000", "--character-coverage=0.98", "--sample-characters=300000")
# As small as a network gets.
PRETRAIN = (
    "--recipe=mt5-demo", "--set=steps=2", "evaluate_every=2", "checkpoint_every=2", "log_every=1",
    "model.vocabulary_rows=3072", "model.embed=32", "model.mlp=32",
)  # fmt: skip


@pytest.fixture(scope="module")
def way(tmp_path_factory, minio, raw_on_s3, mswitch) -> Path:
    """The same on the local disk and on S3, up to the tokens."""
    here, there = tmp_path_factory.mktemp("way"), minio.bucket("way")
    for out in (here, there):
        mswitch(
            *CLEAN,
            f"--input={raw_on_s3}",
            f"--out={out}/corpus",
            "--",
            *minio.options(),
            **minio.keys,
        )
    for name, out in (("here", here), ("there", there)):
        corpus = f"--corpus={out}/corpus"
        mswitch("vocabulary", corpus, f"--out={here}/vocabulary-{name}", *VOCABULARY,
                **minio.variables)  # fmt: skip
        mswitch("tokenize", corpus, f"--vocabulary={here}/vocabulary-{name}",
                f"--out={out}/tokens", "--", *minio.options(), **minio.keys)  # fmt: skip
    return here


@pytest.mark.parametrize("artifact", ["corpus", "tokens"])
def test_s3_gets_what_a_disk_gets(way, minio, digests, tmp_path, artifact):
    there = digests(minio.fetched(f"s3://way/{artifact}", tmp_path / artifact))
    assert len(there) > 20
    assert there == digests(way / artifact)
    folders = {"tokens": "sw/", "corpus": "rejected/"}
    assert any(folders[artifact] in name or "train" in name for name in there)


def test_two_processes_and_prism_write_the_same_to_s3(
    way, minio, raw_on_s3, mswitch, on_prism, workers, digests, tmp_path
):
    """Workers get the store's address from the job's options, and keys from their environment."""
    two = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    with workers(**minio.keys) as pool:
        for name, runner in (("two", two), ("prism", on_prism(pool))):
            out = f"{minio.bucket(name)}/corpus"
            options = ("--", *minio.options(), *runner)
            mswitch(*CLEAN, f"--input={raw_on_s3}", f"--out={out}", *options, **minio.keys)
    for name in ("two", "prism"):
        out = f"s3://{name}/corpus"
        assert digests(minio.fetched(out, tmp_path / name)) == digests(way / "corpus")


def test_a_run_trains_from_s3_and_is_reported_with_the_corpus_there(way, minio, mswitch, tmp_path):
    cache = f"--cache.directory={tmp_path / 'cache'}"
    for name, tokens in (("here", way / "tokens"), ("there", "s3://way/tokens")):
        out = f"--out={tmp_path / name}"
        mswitch("pretrain", *PRETRAIN, f"--tokens={tokens}", out, cache, **minio.variables)
    losses = [
        [
            json.loads(line)["loss_nats"]
            for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in ("here", "there")
    ]
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]
    assert any((tmp_path / "cache/blocks").iterdir())
    runs = (f"--baseline={tmp_path / 'here'}", f"--candidate={tmp_path / 'there'}")
    for name, place in (("here", way), ("there", "s3://way")):
        read = (f"--corpus={place}/corpus", f"--tokens={place}/tokens")
        mswitch("report", *runs, *read, f"--out={tmp_path / f'report-{name}'}", **minio.variables)
    here, there = (
        (tmp_path / f"report-{name}/report.md").read_text() for name in ("here", "there")
    )
    assert re.search(r"Of [\d,]+ lines of \d+ held-out pages", there)  # the corpus was read
    from_where = "| written |"  # the table of dates, commits and places
    assert from_where in there
    assert there.partition(from_where)[0] == here.partition(from_where)[0]


def test_what_lies_on_s3_can_be_inspected(way, minio, mswitch, tmp_path):
    corpus = mswitch("inspect", "s3://way/corpus", **minio.variables).stdout
    assert corpus == mswitch("inspect", way / "corpus").stdout
    assert "the files hold as many pages as the manifest counts" in corpus
    cache = f"--cache.directory={tmp_path}"
    tokens = mswitch("inspect", "s3://way/tokens", cache, **minio.variables).stdout
    assert "all checksums correct" in tokens


def test_an_estimate_reads_a_sample_from_s3(minio, raw_on_s3, mswitch):
    sentence = mswitch("estimate", "--rules=mc4", f"--input={raw_on_s3}", **minio.variables).stdout
    assert "of the input by bytes" in sentence
