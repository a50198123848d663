"""Overlaps with benchmarks are those of sets of tuples in plain Python, in 24 scripts.

Overlaps are those of tuples of words in plain Python (`plain_shingles`).
"""

import bz2
import gzip
import json
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain_shingles import WORD, shingle_set
from planted_data import SCRIPTS

from data import languages
from data.curation.leakage import (
    NGRAM_WORDS,
    Benchmarks,
    _paths_by_name,
    absolute_place,
    digest_of,
    leaked_examples,
    ngram_length,
    texts_of,
)
from data.dedup import hashed_words
from data.dedup.hashed_words import units_of_words
from data.demo import pages_of
from data.errors import DataError
from data.tasks.examples import TaskExample

WORDS = "moja mbili tatu nne tano sita saba nane tisa kumi ishirini thelathini arobaini hamsini"


def units(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in WORD.finditer(text)]


def declaration(language: str) -> str:
    return " ".join(page.text for page in pages_of(languages.get(language)))


def reference(benchmarks, texts, language) -> list[list[str]]:
    """Returns the names of overlapping benchmarks, from sets of tuples."""
    longest = units_of_words(NGRAM_WORDS, language)
    found = []
    for text in texts:
        names = []
        for name, passages in benchmarks.items():
            lengths = [ngram_length(passage) for passage in passages]
            if any(
                len(units(passage)) >= length <= longest
                and shingle_set(passage, length) & shingle_set(text, length)
                for passage, length in zip(passages, lengths, strict=True)
            ):
                names.append(name)
        found.append(names)
    return found


@pytest.mark.parametrize("language", SCRIPTS)
def test_planted_overlaps_are_found_and_shorter_ones_are_not(language):
    text, run = declaration(language), units_of_words(NGRAM_WORDS, language)
    places = units(text)
    assert ngram_length(text) == run
    begin = random.Random(language).randrange(len(places) - 2 * run)
    shared, short = (
        text[places[begin][0] : places[begin + length - 1][1]] for length in (run, run - 1)
    )
    benchmarks = {"whole": [text], "other": [WORDS], "part": [shared + " ?!"]}
    pages = [f"\u2014 {shared}. \u2014", f"\u2014 {short}. \u2014", "", WORDS.upper()]
    found = Benchmarks.of(benchmarks).overlaps(pages, language)
    assert found == [["whole", "part"], [], [], ["other"]] == reference(benchmarks, pages, language)


@pytest.mark.parametrize("chunk", [1, 200, 1 << 18])
def test_equals_the_reference_in_chunks_of_any_size(monkeypatch, chunk):
    monkeypatch.setattr(hashed_words, "CHUNK_CHARACTERS", chunk)
    draw, marked = random.Random(chunk), []
    for language in ("sw", "zh", "ja", "th", "ar"):
        sources = [declaration(code)[:1500] for code in (language, "sw", "zh")]

        def cut(sources=sources):
            source = draw.choice(sources)
            begin = draw.randrange(len(source))
            return source[begin : begin + draw.randrange(20, 300)]

        benchmarks = {name: [cut(), cut(), cut(), WORDS] for name in "abc"}
        pages = [cut() + "\n" + cut() for _ in range(20)]
        found = Benchmarks.of(benchmarks).overlaps(pages, language)
        assert found == reference(benchmarks, pages, language)
        marked += map(bool, found)
    assert 0.05 < sum(marked) / len(marked) < 0.95


def test_every_format_of_a_benchmark_is_read(tmp_path):
    content = {
        "a.jsonl": json.dumps({"q": {"text": ["x", WORDS]}, "n": 3}) + "\nnot JSON\n",
        "b.tsv": f"id\tquestion\n1\t{WORDS}\n",
        "c.txt": f"\n{WORDS}\n",
    }
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "d.ndjson.gz").write_bytes(gzip.compress(content["a.jsonl"].encode()))
    rows = [{"choices": {"text": [WORDS, None]}, "answer": 1, "question": "who?"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    paths = sorted(map(str, tmp_path.iterdir()))
    benchmarks = Benchmarks.read([*paths, paths[0]])
    assert benchmarks.names == ("a.jsonl", "b.tsv", "c.txt", "d.ndjson.gz", "e.parquet")
    assert benchmarks.ngrams == (2,) * 5
    assert benchmarks.overlaps([WORDS, "moja"], "sw") == [list(benchmarks.names), []]


def test_gzipped_json_is_read_as_its_values_and_not_as_its_escapes(tmp_path):
    text = "Проверка текста"
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"text": text}).encode()))  # as \\u041f\\u0440
    assert list(texts_of(str(path))) == [text]
    path.write_bytes(gzip.compress(json.dumps([text, text], indent=1).encode()))
    with pytest.raises(DataError, match=r"x\.json\.gz is not a JSON value; write one per"):
        list(texts_of(str(path)))


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.JSONL.txt", b'{"text": "caf\\u00e9"}\n'),
        ("x.jsonl.xz", lzma.compress(WORDS.encode())),
        ("x.jsonl.bz2", bz2.compress(WORDS.encode())),
        ("x.txt", "café\n".encode("latin-1")),
    ],
)
def test_a_benchmark_that_is_not_what_its_name_says_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="should be lines of UTF-8"):
        list(texts_of(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.txt.gz"])
def test_a_benchmark_that_was_cut_is_refused(tmp_path, name):
    """Examples behind the cut would not be found."""
    text = "".join(f'{{"text": "{WORDS} {number}"}}\n' for number in range(2_000))
    text = text if "json" in name else text.replace('{"text": "', "").replace('"}', "")
    whole = gzip.compress(text.encode(), mtime=0)
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is truncated at byte"):
        list(texts_of(str(tmp_path / name)))


def test_tasks_are_read_without_their_training_examples(tmp_path):
    rows = [
        {"split": split, "text": f"{split} {WORDS}", "label": "yes", "language": "sw"}
        for split in ("train", "test")
    ]
    (tmp_path / "sw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    description = {
        "name": "answers", "files": "{language}.jsonl", "input": "{text}", "target": "{label}",
        "metric": "accuracy", "labels": ["yes"], "splits": {"train": "train", "test": "test"},
    }  # fmt: skip
    (tmp_path / "answers.yaml").write_text(json.dumps(description))
    benchmarks = Benchmarks.read([str(tmp_path / "answers.yaml")])
    pages = [f"{split} {' '.join(WORDS.split()[:12])}" for split in ("train", "test")]
    assert benchmarks.overlaps(pages, "en") == [[], ["answers.yaml"]]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("xnli", "paws"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test.txt").write_text(f"{folder} {WORDS}")
    paths = [str(tmp_path / folder / "test.txt") for folder in ("xnli", "paws")]
    assert Benchmarks.read(paths).names == ("xnli/test.txt", "paws/test.txt")


def test_folders_that_hold_values_tell_descriptions_apart():
    paths = ["/data/lang=sw/xnli.yaml", "/data/lang=en/xnli.yaml"]
    assert list(_paths_by_name(paths)) == ["lang=sw/xnli.yaml", "lang=en/xnli.yaml"]
    assert list(_paths_by_name(["sib200=/data", "/data/a.tsv"])) == ["sib200", "a.tsv"]


@pytest.mark.parametrize("paths", [["sib200=a", "sib200=b"], ["x", "x/"]])
def test_benchmarks_of_one_name_are_refused(paths):
    with pytest.raises(DataError, match="different names"):
        _paths_by_name(paths)


def test_a_task_with_other_data_has_another_digest(tmp_path):
    description, data = tmp_path / "answers.yaml", tmp_path / "sw.tsv"
    description.write_text(
        '{name: answers, files: "{language}.tsv", input: "{text}", target: "{label}", '
        "metric: accuracy, labels: [ndiyo], splits: {test: test}, split: test}".replace(
            "yes", "'yes'"
        )
    )
    data.write_text("text\tlabel\nmoja\tndiyo\n")
    before = digest_of(str(description))
    assert before == digest_of(str(description))
    data.write_text("text\tlabel\nmbili\tndiyo\n")
    assert digest_of(str(description)) != before


def test_a_shipped_task_is_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_place("sib200=a") == f"sib200={tmp_path}/a"
    assert absolute_place("lang=sw/x.yaml") == f"{tmp_path}/lang=sw/x.yaml"


def test_a_parquet_benchmark_with_a_text_that_is_no_utf8_is_refused_in_a_sentence(tmp_path):
    offsets, damaged = pa.array([0, 3], pa.int32()), b"a\x80b"
    texts = pa.StringArray.from_buffers(1, offsets.buffers()[1], pa.py_buffer(damaged))
    pq.write_table(pa.table({"text": texts}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet should be a Parquet file and is damaged"):
        list(texts_of(str(tmp_path / "b.parquet")))


def test_only_the_texts_of_a_parquet_benchmark_are_read(tmp_path):
    texts = pa.array([["a", "b"], ["c", None]], pa.list_(pa.string(), 2))
    times = pa.array([1 << 60, 0], pa.timestamp("ms"))  # Python has no year of 36 million
    pq.write_table(pa.table({"time": times, "text": texts}), tmp_path / "b.parquet")
    assert list(texts_of(str(tmp_path / "b.parquet"))) == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["short.txt", "missing.txt", "damaged.parquet"])
def test_a_benchmark_without_a_run_is_refused(tmp_path, name):
    (tmp_path / "short.txt").write_text("moja mbili tatu")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=name.split(".")[0]):
        Benchmarks.read([str(tmp_path / name)])


LETTERS = {
    "sw": "abcdefghijklmnopqrstuvwyz",
    "ru": "абвгдежзийклмнопрстуфхцч",
    "zh": "的一是不了在人有我他这",
    "ja": "あいうえおかきくけこ日本語",
    "th": "กขคงจฉชซญดตถทธน",
    "am": "ሀለሐመሠረሰቀበተ",
}
LENGTHS = {"sw": 13, "ru": 13, "zh": 23, "ja": 39, "th": 78, "am": 13}


def text(draw: random.Random, code: str, words: int) -> str:
    """Returns a text of so many units, each a word or a character."""
    size = 4 if LENGTHS[code] == NGRAM_WORDS else 1
    units = ["".join(draw.choices(LETTERS[code], k=size)) for _ in range(words)]
    return (" " if size > 1 else "").join(units)


def example(code: str, *texts: str) -> TaskExample:
    return TaskExample(code, "0", "", "", (), texts)


def reference_overlap(examples, pages) -> set[int]:
    """Returns the positions of overlapping examples, from sets of tuples."""
    found = set()
    for position, one in enumerate(examples):
        run = units_of_words(NGRAM_WORDS, one.language)
        texts = [text for text in one.texts if len(WORD.findall(text)) >= run]
        if not texts:
            texts = [max(one.texts, key=lambda text: len(WORD.findall(text)))]
            run = len(WORD.findall(texts[0]))
        sought = {shingle for text in texts for shingle in shingle_set(text, run) if run}
        for code, page in pages:
            if code == one.language and sought & shingle_set(page, run or 1):
                found.add(position)
    return found


@pytest.mark.parametrize("code", LENGTHS)
def test_a_run_has_the_content_of_13_words(code):
    assert units_of_words(NGRAM_WORDS, code) == LENGTHS[code]


@pytest.mark.parametrize("code", LENGTHS)
def test_planted_overlaps_are_found_and_shorter_ones_are_not_overlap(code):
    draw, run = random.Random(code), LENGTHS[code]
    space = " " if run == NGRAM_WORDS else ""
    shared, short, whole = (text(draw, code, n) for n in (run, run - 1, run // 2))
    around = [text(draw, code, 9) for _ in range(12)]
    examples = [
        example(code, space.join([around[0], shared, around[1]])),
        example(code, space.join([around[2], short, around[3]])),
        example(code, whole),
        example(code, whole[: len(whole) // 2], text(draw, code, run)),
        example("en", space.join([around[0], shared])),
        example(code, "", "?!"),
    ]
    pages = [
        (code, space.join([around[n], one, around[n + 1]]))
        for n, one in ((4, shared), (6, short), (8, whole))
    ]
    assert leaked_examples(examples, pages) == {0, 2} == reference_overlap(examples, pages)


def test_case_punctuation_and_numbers_are_not_compared():
    words = "Mvua kubwa ilinyesha usiku kucha katika vijiji 12 vya pwani, na mito ikafurika."
    page = words.upper().replace("12", "1375").replace(",", " –") + " Mwisho."
    assert leaked_examples([example("sw", words)], [("sw", page)]) == {0}


def test_runs_do_not_go_on_in_the_next_page_or_text():
    words = text(random.Random(0), "sw", 14).split()
    halves = " ".join(words[:7]), " ".join(words[7:])
    assert (
        leaked_examples([example("sw", " ".join(words))], [("sw", half) for half in halves])
        == set()
    )
    assert leaked_examples([example("sw", *halves)], [("sw", " ".join(words))]) == {0}  # as a whole
    assert leaked_examples([example("sw", *halves)], [("sw", halves[1])]) == set()


@pytest.mark.parametrize("chunk", [1, 60, 1 << 18])
def test_equals_the_reference_in_chunks_of_any_size_overlap(monkeypatch, chunk):
    monkeypatch.setattr(hashed_words, "CHUNK_CHARACTERS", chunk)
    draw = random.Random(chunk)
    examples, pages = [], []
    for code in [*LENGTHS, "sw"]:
        source = text(draw, code, 6 * LENGTHS[code])
        for _ in range(6):
            cuts = [sorted(draw.choices(range(len(source)), k=2)) for _ in range(2)]
            mixed = source[slice(*cuts[0])] + " " + text(draw, code, 5)
            examples.append(example(code, mixed, text(draw, code, draw.randrange(40))))
            examples.append(example(code, source[slice(*cuts[1])][: draw.randrange(60)]))
            pages.append((code, text(draw, code, 3) + " " + source[slice(*cuts[1])]))
    found = leaked_examples(examples, iter(pages))
    assert found == reference_overlap(examples, pages)
    assert 0.2 < len(found) / len(examples) < 0.8
