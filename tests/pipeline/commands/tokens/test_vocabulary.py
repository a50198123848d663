import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from small_corpora import texts_of, write_corpus

from data.errors import DataError
from data.tokens.manifest import VocabularyManifest
from data.tokens.tokenizer import MODEL_FILE, SENTINELS, Tokenizer, load, sentinel_pieces
from pipeline.artifacts import finish, head_in, read_manifest
from pipeline.commands.vocabulary import Vocabulary
from pipeline.corpus.pages import page_files
from pipeline.errors import ArtifactError
from pipeline.stopping import Stopped
from pipeline.tokens import vocabulary
from pipeline.tokens.vocabulary import append_control_pieces, sample, train

TEXTS = [
    "Watu wote wamezaliwa huru.",
    "Alle mennesker er født frie.",
    "Všichni lidé rodí se.",
]


def foreign_model(**settings) -> bytes:
    """Returns a model as another project might train it, without sentinels."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=model,
        vocab_size=290,
        byte_fallback=True,
        minloglevel=2,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} | settings,
    )
    return model.getvalue()


def sampled(corpora: list[Path], quotas: dict[str, int]) -> list[str]:
    """Returns a sample of the training pages of corpora."""
    files = {code: page_files([*map(str, corpora)], code, "train") for code in quotas}
    return list(sample(files, quotas))


def adopted(model: bytes, directory: Path) -> Path:
    """Returns the model that the command makes of an existing one."""
    (directory / "own.model").write_bytes(model)
    Vocabulary(model=directory / "own.model", out=directory / "out").execute()
    return directory / "out" / MODEL_FILE


def test_a_model_without_sentinels_keeps_its_ids_and_gets_them_appended(tmp_path):
    """As mT5's own: 250,000 pieces, to which T5's code adds 100 ids, the first sentinel last."""
    model = foreign_model()
    ours = load(adopted(model, tmp_path))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert ours.size == theirs.GetPieceSize() + SENTINELS == 390
    assert ours.first_sentinel == 389
    for text in [*TEXTS, "🦒 <extra_id_0>"]:
        assert ours.encode(text).tolist() == theirs.EncodeAsIds(text)
    manifest = read_manifest(tmp_path / "out", "vocabulary", VocabularyManifest)
    assert (manifest.vocabulary_size, manifest.vocabulary_rows) == (390, 512)
    assert manifest.byte_ids == (3, 259)
    adopted(model, tmp_path)  # again: finished


@pytest.mark.parametrize("kind", ["NORMAL", "USER_DEFINED"])
def test_sentinels_that_are_ordinary_pieces_become_control_pieces(tmp_path, kind):
    """As in mT5's file: a text would forge them, and they would count as text in bits per byte."""
    whole = append_control_pieces(foreign_model(), sentinel_pieces())
    proto = ModelProto.FromString(whole)
    for piece in proto.pieces[-SENTINELS:]:
        piece.piece, piece.type = f"▁{piece.piece}", ModelProto.SentencePiece.Type.Value(kind)
    (tmp_path / "mt5.model").write_bytes(proto.SerializeToString())
    with pytest.raises(DataError, match="as a piece of text; let `mswitch vocabulary --model"):
        load(tmp_path / "mt5.model")
    ours, theirs = load(adopted(proto.SerializeToString(), tmp_path)), Tokenizer(whole)
    for text in [*TEXTS, "Watu <extra_id_0> wote", "<extra_id_99>"]:
        assert ours.encode(text).tolist() == theirs.encode(text).tolist()
    assert ours.piece_bytes.tolist() == theirs.piece_bytes.tolist()
    (tmp_path / "again").mkdir()  # what is whole is taken byte for byte
    assert adopted(whole, tmp_path / "again").read_bytes() == whole


@pytest.mark.parametrize(
    ("part", "field", "value", "found"),
    [
        ("trainer_spec", "model_type", 2, "should be a unigram model .* and is a bpe model"),
        ("normalizer_spec", "add_dummy_prefix", False, "and is one without a space before the te"),
    ],
)
def test_a_model_of_which_an_export_would_have_other_ids_is_refused(
    tmp_path, part, field, value, found
):
    proto = ModelProto.FromString(foreign_model())
    setattr(getattr(proto, part), field, value)
    with pytest.raises(DataError, match=found):
        adopted(proto.SerializeToString(), tmp_path)


def test_another_layout_is_refused(tmp_path):
    with pytest.raises(DataError, match="has them as 3, 2 and 0"):
        adopted(foreign_model(pad_id=3, eos_id=2, unk_id=0, bos_id=1), tmp_path)


def test_training_a_model_and_taking_one_exclude_each_other(tmp_path):
    (tmp_path / "x.model").write_bytes(foreign_model())
    for fields, said in (
        ({}, "give the last two to train one"),
        ({"model": tmp_path / "x.model", "size": 300}, "give one or the other"),
        ({"model": tmp_path / "x.model", "character_coverage": 0.99}, "with --character-coverage"),
    ):
        with pytest.raises(ArtifactError, match=said):
            Vocabulary(out=tmp_path / "out", **fields).execute()


def write_pages(corpus: Path, language: str, texts: list[str], split: str = "train") -> Path:
    path = corpus / "pages" / language / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": texts}), path)
    finish(corpus, "clean", {}, {}, {"languages": {}})
    return corpus


def test_a_sample_has_its_quotas_from_every_file_in_proportion(tmp_path):
    """Held-out pages are not sampled."""
    first = write_pages(tmp_path / "a", "en", [f"a{n:03d}" * 5 for n in range(900)])
    second = write_pages(tmp_path / "b", "en", [f"b{n:03d}" * 5 for n in range(300)])
    write_pages(first, "en", ["held out"], "validation")
    write_pages(second, "sw", ["maji\n\nmoto"])
    lines = sampled([first, second], {"en": 40_000, "sw": 100})
    assert lines == sampled([first, second], {"en": 40_000, "sw": 100})
    characters = Counter()
    for line in lines:
        characters[line[0]] += len(line)
    assert characters["a"] == 30_000
    assert characters["b"] == 10_000
    assert 100 <= characters["m"] < 108  # a language with less text is read repeatedly
    assert characters["h"] == 0


@pytest.mark.parametrize("quota", [6_000, 150_000])
def test_a_sample_of_many_files_has_its_quota_and_not_a_title_of_each(tmp_path, quota):
    page = "\n".join(["title", *["x" * 300] * 9])
    corpora = [write_pages(tmp_path / f"{n:02d}", "en", [page] * 20) for n in range(40)]
    characters = [len(line) for line in sampled(corpora, {"en": quota})]
    assert quota <= sum(characters) < quota + 300
    assert characters.count(5) / len(characters) < 0.15  # of pages it is a tenth
    corpora += [
        write_pages(tmp_path / "small", "en", ["last"]),
        write_pages(tmp_path / "none", "en", []),
    ]
    assert sampled(corpora, {"en": quota}).count("last") <= 1  # not repeated in others' place


@pytest.fixture
def fetched(monkeypatch) -> list[tuple[str, int]]:
    """Returns the list of what is fetched of pages in the store in memory: corpus and bytes."""
    store, made = type(fsspec.filesystem("memory")), []
    of = store.cat_file

    def cat_file(self, path, start=None, end=None):
        content = of(self, path, start, end)
        if path.endswith(".parquet"):
            made.append((path.split("/")[1], len(content)))
        return content

    monkeypatch.setattr(store, "cat_file", cat_file)
    return made


def test_a_sample_fetches_the_lines_that_it_has(tmp_path, fetched):
    """Of a store's file whose part is not a character the footer is fetched, to count its pages."""
    generator = np.random.default_rng(0)
    texts = [generator.bytes(2000).hex() for _ in range(5000)]
    here = write_pages(tmp_path, "en", texts)
    write_pages(here, "sw", ["maji\n\nmoto"])  # read repeatedly
    for name in ("first", "second"):
        fsspec.filesystem("memory").put(str(here), f"/{name}", recursive=True)
    quotas = {"en": 90_000, "sw": 100}
    assert sampled(["memory://first"], quotas) == sampled([here], quotas)
    (file,) = page_files([str(here)], "en", "train")
    assert sum(size for _, size in fetched) < file.size / 3
    fetched.clear()
    assert sampled(["memory://first", "memory://second"], {"en": 1}) == texts[:1]
    assert Counter(name for name, _ in fetched)["first"] == 1


def test_lines_too_long_for_sentencepiece_are_cut_and_pages_may_be_empty(tmp_path):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 9000)))
    lines = sampled([write_pages(tmp_path, "zh", [text])], {"zh": 9000})
    assert "".join(lines) == text
    assert max(len(line.encode()) for line in lines) <= 16_384
    assert sampled([write_pages(tmp_path, "yo", ["", "\n"])], {"yo": 10}) == []


@pytest.mark.parametrize(("error", "lines"), [(Stopped(2), 0), (DataError("gone"), 500)])
def test_an_error_while_sampling_is_not_taken_for_the_end_of_the_text(error, lines):
    def sentences():
        yield from (f"{TEXTS[n % 3]} {n}" for n in range(lines))
        raise error

    with pytest.raises(type(error)) as raised:
        train(sentences(), 440, 1.0)
    assert raised.value is error


def test_a_training_that_is_stopped_leaves_the_directory_to_other_settings(
    tmp_path, monkeypatch, tokenizer
):
    corpus = write_corpus(tmp_path / "corpus", {"sw": texts_of("sw", 40)})
    asked = Vocabulary(corpus=(str(corpus),), size=410, out=tmp_path / "out")

    model = tokenizer.processor.serialized_model_proto()
    trained = mock.Mock(side_effect=[Stopped(2), model])
    monkeypatch.setattr(vocabulary, "train", trained)
    with pytest.raises(Stopped):
        asked.execute()
    replace(asked, size=400).execute()
    head = head_in(tmp_path / "out")
    assert head is not None
    assert head.settings["size"] == 400
