"""Whatever a JSON file holds, its reader gets values of the declared shape or one sentence."""

import itertools
import json
import math
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct, convert, to_builtins

from data.corpus_manifest import CorpusManifest
from data.errors import DataError
from data.files import json_files
from data.files.atomic import write_text
from data.files.json_files import (
    DISK_READS,
    STORE_READS,
    YAML_BYTES,
    RelativePath,
    decode_json,
    read_in_order,
    read_json,
    read_yaml,
    write_json,
)
from data.tokens.manifest import TokenManifest, VocabularyManifest
from pipeline.artifacts import Head
from pipeline.corpus.counts import Tally
from pipeline.runs.directory import MixtureRecord, RunRecord

ROOT = Path(__file__).parents[3]
SHAPES = [CorpusManifest, TokenManifest, VocabularyManifest, Head, Tally, RunRecord,
          MixtureRecord]  # fmt: skip
NAMES = sorted({name for shape in SHAPES for name in shape.__struct_fields__})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(2**70),
    lambda part: st.lists(part) | st.dictionaries(st.sampled_from(NAMES) | st.text(), part),
)


class Place(Struct):
    path: RelativePath


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 100_000, b"null", b"[]", b"3", b'"x"',
     b'{"stage": "x", "settings": {"a": ' + b"[" * 101 + b"]" * 101 + b"}}",
     b'{"stage": 3}', b'{"stage": "\\ud800"}', b'{"stage": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_no_manifest_is_one_sentence(tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_json(path, Head)
    assert str(error.value).startswith(f"{path} should hold JSON with the expected fields and does")
    assert len(str(error.value)) < 700
    assert "\n" not in str(error.value)


def test_what_was_expected_and_found_is_named(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"languages": {"sw": {"kept": "many"}}}')
    with pytest.raises(DataError, match=r"Expected `int`, got `str` - at `\$.languages.*kept`"):
        read_json(path, CorpusManifest)


@given(VALUES)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_value_is_a_shape_or_refused(value):
    content = json.dumps(value).encode()
    for shape in SHAPES:
        with suppress(DataError):
            assert isinstance(decode_json(content, shape, "here"), shape)


@pytest.mark.parametrize("number", [float("inf"), -float("inf")])
def test_infinity_which_json_lacks_and_recipes_have_is_read(number):
    content = json.dumps({"stage": "pretrain", "settings": {"norm": number}}).encode()
    assert decode_json(content, Head, "here").settings == {"norm": number}


def test_a_file_too_large_for_json_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MOST_BYTES", 10)
    path = tmp_path / "manifest.json"
    path.write_text('{"stage": "clean"}')
    with pytest.raises(DataError, match=r"manifest.json should hold JSON of at most 10 bytes"):
        read_json(path, Head)


def test_an_object_too_large_for_json_is_refused_by_its_size(monkeypatch):
    path = "memory://large/manifest.json"
    write_text(path, '{"stage": "clean"}')
    monkeypatch.setattr(json_files, "MOST_BYTES", 10)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", None)
    with pytest.raises(DataError, match=r"manifest.json should hold JSON of at most 10 bytes"):
        read_json(path, Head)


def test_an_object_that_grows_after_its_size_was_asked_is_not_read_whole(monkeypatch):
    path = "memory://growing/manifest.json"
    write_text(path, '{"stage": "clean"}')
    monkeypatch.setattr(json_files, "MOST_BYTES", 10)
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_: {"size": 9, "type": "file"})
    read, cat_file = [], MemoryFileSystem.cat_file

    def counted(self, *args, **kwargs):
        read.append(cat_file(self, *args, **kwargs))
        return read[-1]

    monkeypatch.setattr(MemoryFileSystem, "cat_file", counted)
    with pytest.raises(DataError, match=r"manifest.json should hold JSON of at most 10 bytes"):
        read_json(path, Head)
    assert list(map(len, read)) == [11]


def test_an_empty_object_is_no_json():
    write_text("memory://empty/manifest.json", "")
    with pytest.raises(DataError, match=r"manifest.json should hold JSON with the expected fields"):
        read_json("memory://empty/manifest.json", Head)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "..", ".", "../x", "sw/../../x", "sw/..", "./sw", "sw//x", "sw/",
     "sw\\x", "C:\\x", "sw\0", "sw/\x1b[2J", "sw/x\n", "a" * 300],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path):
    with pytest.raises(DataError, match="matching regex"):
        decode_json(json.dumps({"path": path}).encode(), Place, "here")


@given(st.text())
def test_a_path_that_passes_stays_below_its_directory(path):
    try:
        found = decode_json(json.dumps({"path": path}).encode(), Place, "here").path
    except DataError:
        return
    root = Path("/root/of/artifact")
    assert (root / found).resolve().is_relative_to(root)
    assert (root / found).resolve() != root


@pytest.mark.parametrize("path", ["sw/train-00000-of-00001", "zh-Latn", "..x", "a..b", "日本/1"])
def test_plain_paths_pass(path):
    assert decode_json(json.dumps({"path": path}).encode(), Place, "here").path == path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, make_blocks) -> dict:
    return to_builtins(make_blocks(tmp_path_factory.mktemp("blocks"), {"sw": 900}).manifest)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("sha256",), "../../../etc/passwd"),
        (("sha256",), "A" * 64),
        (("sha256",), "0" * 64 + "\n"),
        (("pages_sha256",), "0" * 63),
        (("name",), "../../outside"),
        (("name",), "/outside"),
        (("tokens",), -1),
        (("tokens",), 2**60),
        (("tokens",), 7),  # not the sum
    ],
)
def test_a_hostile_shard_is_refused_where_the_manifest_is_read(manifest, where, value):
    changed = json.loads(json.dumps(manifest))
    changed["languages"]["sw"]["train"]["shards"][0][where[0]] = value
    with pytest.raises(DataError, match=r"^here should hold JSON"):
        decode_json(json.dumps(changed).encode(), TokenManifest, "here")
    assert convert(manifest, TokenManifest)


@pytest.mark.parametrize(
    ("field", "value"),
    [("vocabulary_size", 2**40), ("vocabulary_size", 2**31), ("first_sentinel", -1),
     ("vocabulary_rows", 100), ("byte_ids", [3]), ("sha256", "x")],
)  # fmt: skip
def test_a_hostile_vocabulary_is_refused(manifest, field, value):
    changed = manifest | {"vocabulary": manifest["vocabulary"] | {field: value}}
    with pytest.raises(DataError, match=r"^here should hold JSON"):
        decode_json(json.dumps(changed).encode(), TokenManifest, "here")


def numbered(folder: str | Path, count: int) -> list[str]:
    """Writes files that hold their numbers; returns their paths."""
    paths = [f"{folder}/{number}.json" for number in range(count)]
    for number, path in enumerate(paths):
        write_json(path, number)
    return paths


@pytest.mark.parametrize("reads", [DISK_READS, STORE_READS])
def test_files_are_read_together_in_order_and_not_all_at_once(tmp_path, monkeypatch, reads):
    folder = f"memory:/{tmp_path}" if reads == STORE_READS else tmp_path
    paths, started = numbered(folder, 3 * reads), []
    number, together = itertools.count(), threading.Barrier(4)

    def read(path, shape):
        started.append(path)
        if next(number) < 4:  # none of the first four ends before the others have begun
            together.wait(timeout=600)
        return read_json(path, shape)

    monkeypatch.setattr(json_files, "read_json", read)
    for taken, value in enumerate(read_in_order(paths, int)):
        assert value == taken
        assert len(started) <= taken + reads
    assert len(started) == len(paths)


def test_a_file_that_cannot_be_read_ends_the_reading_where_it_stands(tmp_path):
    paths = numbered(tmp_path, 2 * DISK_READS)
    write_json(paths[DISK_READS], "damaged")
    values = read_in_order(paths, int)
    assert [next(values) for _ in range(DISK_READS)] == list(range(DISK_READS))
    with pytest.raises(DataError, match=rf"/{DISK_READS}\.json should hold JSON"):
        next(values)
    assert list(read_in_order([], int)) == []


# Each of 32 threads is interrupted after every few instructions, also while msgspec learns a type.
MANY_READERS = """
import sys, threading
from msgspec import Struct
from data.files.json_files import of_shape

sys.setswitchinterval(1e-6)
for _ in range(100):
    class Inner(Struct):
        counts: dict[str, list[int]]

    class Outer(Struct):
        inner: Inner

    together = threading.Barrier(32)

    def read():
        together.wait()
        of_shape({"inner": {"counts": {"sw": [1]}}}, Outer, "here")

    threads = [threading.Thread(target=read) for _ in range(32)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


def test_many_threads_read_their_first_value_of_a_type():
    done = subprocess.run([sys.executable, "-c", MANY_READERS], cwd=ROOT, check=False)
    assert done.returncode == 0  # without preparation -11, SIGSEGV, within ten rounds


def written(tmp_path, content: str):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    return path


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_plain_values_are_read_as_they_were_written(tmp_path, dump):
    value = {"rows": 3, "rate": 0.25, "name": "x: y", "on": True, "none": None, "list": [1, "zwei"]}
    assert read_yaml(written(tmp_path, dump(value)), dict[str, Any]) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2E6", 2e6),
        ("1.e2", 1e2),
        ("-.5", -0.5),
        ("7", 7),
        ("-0", 0),
        ("-.inf", -math.inf),
        ("~", None),
        ("", None),
        ("True", True),
        *[(text, text) for text in ("no", "on", "1:30", "1:30.5", "010", "0x1f", "1_000")],
        *[(text, text) for text in ("2001-01-01", "=", "<<", ".", "+", "9" * 5000, "0o7", "1e")],
    ],
)
def test_plain_words_are_those_of_the_core_schema_with_numbers_of_json(tmp_path, text, value):
    found = read_yaml(written(tmp_path, f"a: {text}"), dict[str, Any])["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1", "should hold YAML and does not"),
        ("a: &x [1]\nb: *x", "an alias in .*line 2.*; write its value"),
        ("a: 1\na: 2", "a key twice"),
        ("a: !!python/object/apply:os.getcwd []", "a tag.*line 1, column 4"),
        ("b: 1\na: !!bool x", "a tag.*line 2, column 4.*; write a value without one"),
        ('a: !!int ""', "a tag"),
        ("a: ! x", "a tag"),
        ("!!set {x}", "a tag"),
        ("? [1]\n: 2", "unhashable key"),
        ('a: "\\U99999999"', "should hold YAML and does not"),
        ('a: "\\ud800"', "surrogate"),
        ("- 1\n- 2", "Expected `object`, got `array`.*; correct it"),
        ("", "Expected `object`, got `null`"),
        ("[" * 2000, "should hold YAML and does not"),
        ("a: " + "x" * YAML_BYTES, "at most 262,144 bytes"),
        ("a: " + "1:" * 100_000 + "1\n- 3", "should hold YAML and does not"),
    ],
)
def test_anything_else_is_one_sentence(tmp_path, content, said):
    with pytest.raises(DataError, match=said) as refused:
        read_yaml(written(tmp_path, content), dict[str, Any])
    assert len(str(refused.value)) < 600
