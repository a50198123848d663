"""Overlaps with benchmarks and with examples of tasks are those of tuples in plain Python."""

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
HALVES = WORDS[: WORDS.index(" nane")], WORDS[WORDS.index("nane") :]
LENGTHS = {"sw": 13, "ru": 13, "zh": 23, "ja": 39, "th": 78, "am": 13}


def declaration(language: str) -> str:
    return " ".join(page.text for page in pages_of(languages.get(language)))


def example(code: str, *texts: str) -> TaskExample:
    return TaskExample(code, "0", "", "", (), texts)


def plain_overlaps(benchmarks, texts, language) -> list[list[str]]:
    """Returns the names of overlapping benchmarks, from sets of tuples."""
    longest = units_of_words(NGRAM_WORDS, language)

    def overlap(passage, text):
        length = ngram_length(passage)
        is_sought = len(WORD.findall(passage)) >= length <= longest
        return is_sought and shingle_set(passage, length) & shingle_set(text, length)

    return [
        [name for name in benchmarks if any(overlap(one, text) for one in benchmarks[name])]
        for text in texts
    ]


def plain_leaks(examples, pages) -> set[int]:
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


def test_an_n_gram_has_the_content_of_13_words():
    assert {code: units_of_words(NGRAM_WORDS, code) for code in LENGTHS} == LENGTHS


@pytest.mark.parametrize("language", SCRIPTS)
def test_planted_overlaps_are_found_and_shorter_ones_are_not(language):
    text, run = declaration(language), units_of_words(NGRAM_WORDS, language)
    places = [word.span() for word in WORD.finditer(text)]
    assert ngram_length(text) == run
    begin = random.Random(language).randrange(len(places) - 2 * run)
    shared, short = (
        text[places[begin][0] : places[begin + length - 1][1]] for length in (run, run - 1)
    )
    benchmarks = {"whole": [text], "other": [WORDS], "part": [shared + " ?!"]}
    pages = [f"\u2014 {shared}. \u2014", f"\u2014 {short}. \u2014", "", WORDS.upper()]
    found = Benchmarks.of(benchmarks).overlaps(pages, language)
    assert found == [["whole", "part"], [], [], ["other"]]
    assert found == plain_overlaps(benchmarks, pages, language)

    examples = [
        example(language, text),
        example(language, f"1 {text[: places[begin][0]]} 2 {short} 3"),
        example(language, HALVES[0]),  # too short for n-grams, so it counts as a whole
        example(language, HALVES[0], text[::-1]),
        example("und", text),
        example(language, "", "?!"),
    ]
    pages = [(language, page) for page in pages]
    assert leaked_examples(examples, pages[:1]) == {0} == plain_leaks(examples, pages[:1])
    assert leaked_examples(examples, pages[1:]) == {2} == plain_leaks(examples, pages[1:])


@pytest.mark.parametrize("chunk", [1, 200, 1 << 18])
def test_equals_the_reference_in_chunks_of_any_size(monkeypatch, chunk):
    monkeypatch.setattr(hashed_words, "CHUNK_CHARACTERS", chunk)
    draw, marked, examples, all_pages = random.Random(chunk), [], [], []
    for language in ("sw", "zh", "ja", "th", "ar"):
        sources = [declaration(code)[:1500] for code in (language, "sw", "zh")]

        def cut(longest=300, sources=sources):
            source = draw.choice(sources)
            begin = draw.randrange(len(source))
            return source[begin : begin + draw.randrange(longest)]

        benchmarks = {name: [cut(), cut(), cut(), WORDS] for name in "abc"}
        pages = [cut() + "\n" + cut() for _ in range(20)]
        found = Benchmarks.of(benchmarks).overlaps(pages, language)
        assert found == plain_overlaps(benchmarks, pages, language)
        marked += map(bool, found)
        examples += [example(language, cut(longest), cut(30)) for longest in (30, 300) * 6]
        all_pages += [(language, page) for page in pages]
    draw.shuffle(all_pages)
    leaked = leaked_examples(examples, iter(all_pages))
    assert leaked == plain_leaks(examples, all_pages)
    assert 0.05 < sum(marked) / len(marked) < 0.95
    assert 0.2 < len(leaked) / len(examples) < 0.8


def test_n_grams_do_not_go_on_in_the_next_page_or_text():
    assert leaked_examples([example("sw", WORDS)], [("sw", half) for half in HALVES]) == set()
    assert leaked_examples([example("sw", *HALVES)], [("sw", WORDS)]) == {0}  # as a whole
    assert leaked_examples([example("sw", *HALVES)], [("sw", HALVES[0])]) == {0}
    assert leaked_examples([example("sw", *HALVES)], [("sw", HALVES[1])]) == set()


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


def test_only_the_texts_of_a_parquet_benchmark_are_read(tmp_path):
    texts = pa.array([["a", "b"], ["c", None]], pa.list_(pa.string(), 2))
    times = pa.array([1 << 60, 0], pa.timestamp("ms"))  # Python has no year of 36 million
    pq.write_table(pa.table({"time": times, "text": texts}), tmp_path / "b.parquet")
    assert list(texts_of(str(tmp_path / "b.parquet"))) == ["a", "b", "c"]


def half_of(line: str) -> bytes:
    """Returns a gzipped file of this line many times, of which the end is missing."""
    whole = gzip.compress("".join(line % n for n in range(2000)).encode(), mtime=0)
    return whole[: len(whole) // 2]


def parquet_of_no_utf8() -> bytes:
    offsets, sink = pa.array([0, 3], pa.int32()), pa.BufferOutputStream()
    texts = pa.StringArray.from_buffers(1, offsets.buffers()[1], pa.py_buffer(b"a\x80b"))
    pq.write_table(pa.table({"text": texts}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("x.JSONL.txt", b'{"text": "caf\\u00e9"}\n', "lines of UTF-8"),
        ("x.jsonl.xz", lzma.compress(WORDS.encode()), "lines of UTF-8"),
        ("x.txt", WORDS.encode("utf-16-le"), "lines of UTF-8"),
        ("x.json.gz", gzip.compress(json.dumps([WORDS], indent=1).encode()), "write one per line"),
        ("x.jsonl.gz", half_of(f'{{"text": "{WORDS} %d"}}\n'), "truncated at byte"),
        ("x.txt.gz", half_of(f"{WORDS} %d\n"), "truncated at byte"),
        ("x.parquet", b"PAR1", "damaged"),
        ("x.parquet", parquet_of_no_utf8(), "damaged"),
        ("x.txt", b"moja mbili tatu", "text of 13 words"),
        ("x.txt", None, "does not exist"),
    ],
)
def test_a_benchmark_that_would_not_be_found_is_refused(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} .*{reason}"):
        Benchmarks.read([str(tmp_path / name)])


def test_a_task_is_its_development_and_test_examples(tmp_path):
    path, data = str(tmp_path / "answers.yaml"), tmp_path / "sw.jsonl"
    description = {
        "name": "answers", "files": "{language}.jsonl", "input": "{text}", "target": "{label}",
        "metric": "accuracy", "labels": ["yes"], "splits": {"train": "train", "test": "test"},
    }  # fmt: skip
    (tmp_path / "answers.yaml").write_text(json.dumps(description))

    def digest(**texts: str) -> str:
        rows = ({"split": name, "text": texts[name], "label": "yes"} for name in texts)
        data.write_text("\n".join(json.dumps(row | {"language": "sw"}) for row in rows))
        return digest_of(path)

    one = digest(train=f"train {WORDS}", test=f"test {WORDS}")
    pages = [f"{split} {' '.join(WORDS.split()[:12])}" for split in ("train", "test")]
    assert Benchmarks.read([path]).overlaps(pages, "en") == [[], ["answers.yaml"]]
    assert one == digest(train="other", test=f"test {WORDS}") != digest(train="x", test="other")


@pytest.mark.parametrize(
    "paths, names",
    [
        (["/data/xnli/test.txt", "paws/test.txt"], ["xnli/test.txt", "paws/test.txt"]),
        (["/lang=sw/xnli.yaml", "/lang=en/xnli.yaml"], ["lang=sw/xnli.yaml", "lang=en/xnli.yaml"]),
        (["sib200=/data", "/data/a.tsv"], ["sib200", "a.tsv"]),
        (["sib200=a", "sib200=b"], None),
        (["x", "x/"], None),
    ],
)
def test_names_have_the_folders_that_tell_them_apart(paths, names):
    if names:
        assert _paths_by_name(paths) == dict(zip(names, paths, strict=True))
        return
    with pytest.raises(DataError, match="different names"):
        _paths_by_name(paths)


def test_a_shipped_task_is_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_place("sib200=a") == f"sib200={tmp_path}/a"
    assert absolute_place("lang=sw/x.yaml") == f"{tmp_path}/lang=sw/x.yaml"
