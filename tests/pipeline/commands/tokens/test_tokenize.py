"""The tokenize stage as a user runs it, in its own processes: TensorFlow and CLD3 must not meet."""

import gzip
import itertools
import json
import shutil
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contents import digests
from small_corpora import texts_of, write_corpus
from tensorflow_forks import python
from web_pages import BESIDE, SMALL, pages_in

from data.examples.mixture import TextSizes, parse
from data.files.json_files import read_json, write_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest, VocabularyManifest
from data.tokens.tokenizer import MODEL_FILE, load
from pipeline import artifacts, cli
from pipeline.beam.job import DoWork, WorkNumbers
from pipeline.beam.options import pipeline_options
from pipeline.beam.workspace import Workspace
from pipeline.commands.vocabulary import Vocabulary
from pipeline.tokens.tokenize import cautions, key_of, shared_languages
from pipeline.tokens.write import TokenLayout, WriteShard, page_shards, split_files

PAGES = {
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Ukurasa wa {}.",
    "ja": "すべての人間は、生まれながらにして自由であり、平等である。第{}ページ。",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti. Strana {}.",
}


def tokenize(corpus: Path, vocabulary: Path, out: Path, *beam: str):
    paths = [f"--corpus={corpus}", f"--vocabulary={vocabulary}", f"--out={out}"]
    return python("-m", "pipeline.cli", "tokenize", *paths, "--", *beam)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    languages = {}
    for code, text in PAGES.items():
        (directory / "pages" / code).mkdir(parents=True)
        for split, count in (("train", 12), ("validation", 3)):
            rows = [
                {"url": f"https://{code}.example/{split}/{n}", "text": text.format(n)}
                for n in range(count)
            ]
            path = directory / "pages" / code / f"{split}-00000-of-00001.parquet"
            pq.write_table(pa.Table.from_pylist(rows), path)
        characters = 15 * len(text)
        languages[code] = {"kept": 15, "held_out": 3, "rejected": {}, "characters": characters}
    artifacts.finish(directory, "clean", {}, {}, {"languages": languages})
    return directory


def make_vocabulary(corpus: Path, size: int, out: Path) -> Path:
    Vocabulary(
        corpus=(str(corpus),),
        size=size,
        character_coverage=1.0,
        sample_characters=20_000,
        out=out,
    ).execute()
    return out


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory, corpus) -> Path:
    return make_vocabulary(corpus, 440, tmp_path_factory.mktemp("vocabulary") / "own")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, corpus, vocabulary) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "one"
    done = tokenize(corpus, vocabulary, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("mixture", ["temperature:0.3", "proportional", "unimax:2:4000"])
def test_the_vocabulary_is_trained_on_the_mixture_of_pretraining(tmp_path, corpus, tokens, mixture):
    """One setting gives one set of weights, from clean pages as from token blocks.

    (Characters of held-out pages are taken from those of all in proportion; it moves UniMax, which
    here caps a language at two epochs of few pages.)
    """
    blocks = TokenBlocks(tokens, artifacts.read_manifest(tokens, "tokenize", TokenManifest))
    sizes = TextSizes(blocks.counts("train", "pages"), blocks.counts("train", "characters"))
    wanted = parse(mixture, sizes)
    out = tmp_path / "vocabulary"
    Vocabulary(
            corpus=(str(corpus),), size=440, mixture=mixture, sample_characters=20_000,
            character_coverage=1.0, out=out,
        ).execute()  # fmt: skip
    quotas = artifacts.read_manifest(out, "vocabulary", VocabularyManifest).sample_characters
    for code, weight in wanted.items():
        assert quotas[code] / 20_000 == pytest.approx(weight, abs=0.01)


def test_ids_are_sentencepieces_own(tokens, vocabulary):
    blocks = TokenBlocks(tokens, artifacts.read_manifest(tokens, "tokenize", TokenManifest))
    tokenizer = load(vocabulary / MODEL_FILE)
    for code, text in PAGES.items():
        pages = blocks.pages(code, "train")
        assert [page.url[-2:] for page in pages] == [f"/{n}"[-2:] for n in range(12)]
        for number, page in enumerate(pages):
            expected = text.format(number)
            assert page.tokens.tolist() == tokenizer.encode(expected).tolist()
            assert (page.characters, page.text_bytes) == (len(expected), len(expected.encode()))


def test_pages_follow_each_other_without_separator_or_eos(tokens):
    """As T5, which concatenates pages before it cuts them; EOS ends inputs and targets only."""
    blocks = TokenBlocks(tokens, artifacts.read_manifest(tokens, "tokenize", TokenManifest))
    stream = blocks.stream("sw", "train")
    whole = stream.read(0, len(stream)).tolist()
    assert whole == list(itertools.chain(*(p.tokens.tolist() for p in blocks.pages("sw", "train"))))
    assert 1 not in whole


@pytest.mark.parametrize(
    ("workers", "mode"),
    [pytest.param(2, "multi_processing", marks=pytest.mark.slow), (4, "multi_threading")],
)
def test_any_number_of_workers_writes_the_same(tmp_path, corpus, vocabulary, tokens, workers, mode):
    done = tokenize(
        corpus,
        vocabulary,
        tmp_path / "out",
        f"--direct_num_workers={workers}",
        f"--direct_running_mode={mode}",
    )
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "out") == digests(tokens)


def test_a_store_gets_what_a_folder_gets(tmp_path, corpus, vocabulary, tokens, capsys):
    """`file://` goes the way of every store: fetched, uploaded, read back, renamed."""
    out = f"file://{tmp_path}/out"
    done = tokenize(f"file://{corpus}", f"file://{vocabulary}", out)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "out") == digests(tokens)
    assert cli.run(["inspect", out, "--cache.directory", str(tmp_path / "c")]) == 0
    assert "all checksums correct" in " ".join(capsys.readouterr().out.split())


def test_the_graph_is_small_whatever_the_corpus(tmp_path):
    """Lists of files and mT5's vocabulary, 4 MB, lie in the output directory."""
    layout = TokenLayout("<u4", (3, 259))
    pipeline = beam.Pipeline(options=pipeline_options(()))
    _ = (
        pipeline
        | WorkNumbers(100_000)
        | DoWork(WriteShard(Workspace(str(tmp_path), "key"), layout))
    )
    assert len(pipeline.to_runner_api().SerializeToString()) < 100_000


@pytest.mark.parametrize("same_version", [True, False])
def test_a_job_cut_short_goes_on_after_its_finished_shards(
    tmp_path, corpus, vocabulary, tokens, same_version
):
    """Those of its own: what another version of the code has finished is done again."""
    out = tmp_path / "out"
    model = (vocabulary / MODEL_FILE).read_bytes()
    names = [shard.name for shard in page_shards(split_files((str(corpus),)))]
    key = key_of(page_shards(split_files((str(corpus),))), model) if same_version else "another"
    shutil.copytree(tokens, out)
    manifest = read_json(out / "manifest.json", dict)
    for code in ("sw", "ja"):  # as a kill leaves them: some shards finished, one half-written
        (shard,) = manifest["languages"][code]["train"]["shards"]
        record = out / f"work/{key}/shards/{names.index(shard['name']):05d}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(shard))
    (out / "cs/train-00000-of-00001.arrayrecord").write_bytes(b"half")
    (out / "cs/train-00001-of-00002.arrayrecord").write_bytes(b"of another cut")
    kept = (out / "sw/train-00000-of-00001.arrayrecord").stat().st_mtime_ns
    (out / "manifest.json").unlink()
    write_json(
        out / "unfinished.json", {key: manifest[key] for key in ("stage", "settings", "inputs")}
    )
    done = tokenize(corpus, vocabulary, out)
    assert done.returncode == 0, done.stderr
    if same_version:
        (out / "cs/train-00001-of-00002.arrayrecord").unlink()
    assert digests(out) == digests(tokens)
    is_kept = (out / "sw/train-00000-of-00001.arrayrecord").stat().st_mtime_ns == kept
    assert is_kept == same_version


def test_a_file_of_pages_that_is_missing_is_named(tmp_path, corpus, vocabulary, tokens):
    """Otherwise its tokens would be lost silently; restored, the same command ends well."""
    copy, out = tmp_path / "corpus", tmp_path / "out"
    shutil.copytree(corpus, copy)
    (copy / "pages/sw/validation-00000-of-00001.parquet").rename(tmp_path / "lost")
    done = tokenize(copy, vocabulary, out)
    assert done.returncode == 2
    assert "its files do not (0 of 3 in sw/validation)" in " ".join(done.stderr.split())
    assert not (out / "manifest.json").exists()
    (tmp_path / "lost").rename(copy / "pages/sw/validation-00000-of-00001.parquet")
    done = tokenize(copy, vocabulary, out)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(tokens)


def test_another_vocabulary_is_refused(tmp_path, corpus, vocabulary, tokens):
    other = tmp_path / "other"
    make_vocabulary(corpus, 430, other)
    done = tokenize(corpus, other, tokens)
    assert done.returncode == 2
    assert "from other inputs (vocabulary: another" in " ".join(done.stderr.split())


def test_a_vocabulary_that_was_altered_is_refused(tmp_path, corpus, vocabulary):
    altered = tmp_path / "altered"
    shutil.copytree(vocabulary, altered)
    with (altered / MODEL_FILE).open("ab") as file:
        file.write(b"\0")
    done = tokenize(corpus, altered, tmp_path / "out")
    assert done.returncode == 2
    assert MODEL_FILE in done.stderr


def test_ids_are_sentencepieces_own_on_web_pages(tmp_path, vocabulary):
    """The op that was chosen against the pinned SentencePiece; ../shared/data adds 103 codes."""
    texts = [page.text for page in pages_in(SMALL)]
    corpus = sorted((BESIDE / "corpus").glob("*/*.jsonl.gz"))
    texts += [text for path in corpus for text in first(path, 2)]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    code = (
        "import json, pathlib, sys\n"
        "from pipeline.tokens.sentencepiece_op import SentencePieceOp\n"
        "from data.tokens.tokenizer import load\n"
        "model, texts = map(pathlib.Path, sys.argv[1:])\n"
        "texts = json.loads(texts.read_text())\n"
        "tokenizer, ids = load(model), SentencePieceOp(model.read_bytes())(texts)\n"
        "print(sum(a.tolist() != tokenizer.encode(t).tolist() for a, t in zip(ids, texts)))\n"
    )
    done = python("-c", code, str(vocabulary / MODEL_FILE), str(tmp_path / "texts.json"))
    assert done.stdout.strip() == "0", done.stderr


def first(path: Path, count: int) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"][:5000] for line in itertools.islice(file, count)]


def test_tokens_by_the_vocabulary_of_other_text_have_a_caution():
    def entry(byte_tokens: int) -> dict:
        return {"train": {"tokens": 100, "byte_tokens": byte_tokens}, "validation": {"tokens": 9}}

    assert list(cautions({"sw": entry(5), "fr": entry(0)})) == []
    (said,) = cautions({"sw": entry(6), "fr": entry(0), "hi": entry(56)})
    assert "single bytes in sw, hi (hi: 56%): the vocabulary was made for other text" in said


def test_corpora_that_have_a_language_in_common_have_a_caution(tmp_path):
    """One may hold out what another trains on."""
    texts = {code: texts_of(code, 4) for code in ("sw", "en")}
    both = write_corpus(tmp_path / "both", texts)
    alone = write_corpus(tmp_path / "alone", {"sw": texts["sw"]})
    assert shared_languages([str(both)]) == []
    assert shared_languages([str(both), str(alone)]) == ["sw"]
    said, *_ = cautions({}, ["sw"])
    assert said.startswith("sw are in several corpora")
