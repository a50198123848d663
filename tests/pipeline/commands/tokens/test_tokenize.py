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
from sentencepiece import sentencepiece_model_pb2
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
from pipeline.commands.tokenize import Tokenize
from pipeline.commands.vocabulary import Vocabulary
from pipeline.errors import ArtifactError
from pipeline.tokens.tokenize import cautions, key_of, shared_languages
from pipeline.tokens.write import TokenLayout, WriteShard, page_shards, split_files

PAGES = {
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Ukurasa wa {}.",
    "ja": "すべての人間は、生まれながらにして自由であり、平等である。第{}ページ。",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti. Strana {}.",
}


def tokenize(corpus: object, vocabulary: object, out: object, *beam: str) -> str:
    """Returns what the command printed to standard error when it failed, or nothing."""
    paths = [f"--corpus={corpus}", f"--vocabulary={vocabulary}", f"--out={out}"]
    done = python("-m", "pipeline.cli", "tokenize", *paths, "--", *beam)
    assert done.returncode in (0, 2), done.stderr
    return " ".join(done.stderr.split()) if done.returncode else ""


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


def make_vocabulary(corpus: Path, out: Path, **more: str) -> Path:
    sizes = {"size": 440, "character_coverage": 1.0, "sample_characters": 20_000}
    Vocabulary(corpus=(str(corpus),), out=out, **sizes, **more).execute()
    return out


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory, corpus) -> Path:
    return make_vocabulary(corpus, tmp_path_factory.mktemp("vocabulary") / "own")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, corpus, vocabulary) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "one"
    assert not tokenize(corpus, vocabulary, out)
    return out


@pytest.fixture
def blocks(tokens) -> TokenBlocks:
    return TokenBlocks(tokens, artifacts.read_manifest(tokens, "tokenize", TokenManifest))


@pytest.mark.slow
@pytest.mark.parametrize("mixture", ["temperature:0.3", "proportional", "unimax:2:4000"])
def test_the_vocabulary_is_trained_on_the_mixture_of_pretraining(tmp_path, corpus, blocks, mixture):
    """One setting gives one set of weights, from clean pages as from token blocks.

    (Characters of held-out pages are taken from those of all in proportion; it moves UniMax, which
    here caps a language at two epochs of few pages.)
    """
    sizes = TextSizes(blocks.counts("train", "pages"), blocks.counts("train", "characters"))
    out = make_vocabulary(corpus, tmp_path / "vocabulary", mixture=mixture)
    quotas = artifacts.read_manifest(out, "vocabulary", VocabularyManifest).sample_characters
    for code, weight in parse(mixture, sizes).items():
        assert quotas[code] / 20_000 == pytest.approx(weight, abs=0.01)


def test_ids_are_sentencepieces_own_and_pages_have_neither_separator_nor_eos(blocks, vocabulary):
    """As T5, which concatenates pages before it cuts them; EOS ends inputs and targets only."""
    tokenizer = load(vocabulary / MODEL_FILE)
    for code, text in PAGES.items():
        whole: list[int] = []
        for number, page in enumerate(blocks.pages(code, "train")):
            expected = text.format(number)
            assert page.url == f"https://{code}.example/train/{number}"
            assert page.tokens.tolist() == tokenizer.encode(expected).tolist()
            assert (page.characters, page.text_bytes) == (len(expected), len(expected.encode()))
            whole += page.tokens.tolist()
        assert number == 11
        stream = blocks.stream(code, "train")
        assert stream.read(0, len(stream)).tolist() == whole
        assert 1 not in whole


@pytest.mark.parametrize(
    ("workers", "mode", "store"),
    [
        pytest.param(2, "multi_processing", "", marks=pytest.mark.slow),
        (4, "multi_threading", "file://"),
    ],
)
def test_any_number_of_workers_writes_the_same_also_to_a_store(
    tmp_path, corpus, vocabulary, tokens, workers, mode, store, capsys
):
    """`file://` goes the way of every store: fetched, uploaded, read back, renamed."""
    out = f"{store}{tmp_path}/out"
    how = f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"
    assert not tokenize(f"{store}{corpus}", f"{store}{vocabulary}", out, *how)
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
    assert not tokenize(corpus, vocabulary, out)
    if same_version:
        (out / "cs/train-00001-of-00002.arrayrecord").unlink()
    assert digests(out) == digests(tokens)
    is_kept = (out / "sw/train-00000-of-00001.arrayrecord").stat().st_mtime_ns == kept
    assert is_kept == same_version


def test_a_file_of_pages_that_is_missing_is_named(tmp_path, corpus, vocabulary):
    """Otherwise its tokens would be lost silently."""
    shutil.copytree(corpus, tmp_path / "corpus")
    (tmp_path / "corpus/pages/sw/validation-00000-of-00001.parquet").unlink()
    said = tokenize(tmp_path / "corpus", vocabulary, tmp_path / "out")
    assert "its files do not (0 of 3 in sw/validation)" in said
    assert not (tmp_path / "out/manifest.json").exists()


def test_another_vocabulary_and_one_that_was_altered_are_refused(
    tmp_path, corpus, vocabulary, tokens
):
    copy = tmp_path / "vocabulary"
    shutil.copytree(vocabulary, copy)
    asked = Tokenize(corpus=(str(corpus),), vocabulary=str(copy), out=str(tokens), dry_run=True)
    manifest = read_json(copy / "manifest.json", dict)
    write_json(copy / "manifest.json", manifest | {"settings": {}})
    with pytest.raises(ArtifactError, match=r"from other inputs \(vocabulary: another"):
        asked.execute()
    with (copy / MODEL_FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArtifactError, match=MODEL_FILE):
        asked.execute()


def test_ids_are_sentencepieces_own_on_web_pages(tmp_path, vocabulary):
    """The op that was chosen against the pinned SentencePiece; ../shared/data adds 103 codes."""
    texts = [page.text for page in pages_in(SMALL)]
    corpus = sorted((BESIDE / "corpus").glob("*/*.jsonl.gz"))
    texts += [text for path in corpus for text in first(path, 1)]
    assert differing(tmp_path, (vocabulary / MODEL_FILE).read_bytes(), texts) == []


def test_ids_are_sentencepieces_own_where_cuts_have_equal_scores(tmp_path):
    """An odd run of l is l among pairs, anywhere: sums are equal but for the rounding of each."""
    model = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
    model.trainer_spec.pad_id, model.trainer_spec.eos_id, model.trainer_spec.unk_id = 0, 1, 2
    model.trainer_spec.bos_id = -1
    # Scores that one of the fixtures' vocabularies learned.
    learned = {"▁": -1.687583565711975, "l": -6.796100616455078, "ll": -9.153162956237793}
    for number, piece in enumerate(("<pad>", "</s>", "<unk>", *learned)):
        kind = 1 if piece in learned else 2 if number == 2 else 3
        model.pieces.add(piece=piece, score=learned.get(piece, 0), type=kind)
    texts = ["l" * run for run in range(1, 200)]
    assert differing(tmp_path, model.SerializeToString(), texts) == []


def differing(folder: Path, model: bytes, texts: list[str]) -> list[str]:
    """Returns the texts that the op and SentencePiece cut differently.

    In a process of its own: TensorFlow crashes where CLD3 is loaded later.
    """
    code = (
        "import json, pathlib, sys\n"
        "from pipeline.tokens.sentencepiece_op import SentencePieceOp\n"
        "from data.tokens.tokenizer import Tokenizer\n"
        "model, texts = (pathlib.Path(name).read_bytes() for name in sys.argv[1:])\n"
        "texts, tokenizer = json.loads(texts), Tokenizer(model)\n"
        "pairs = zip(texts, SentencePieceOp(model)(texts))\n"
        "other = [t for t, ids in pairs if ids.tolist() != tokenizer.encode(t).tolist()]\n"
        "print(json.dumps(other))\n"
    )
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / MODEL_FILE).write_bytes(model)
    done = python("-c", code, str(folder / MODEL_FILE), str(folder / "texts.json"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
