"""Every kind of input in the whole job, and its output read by other tools."""

import errno
import functools
import gzip
import json
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from data.demo import member_of
from data.errors import DataError
from data.files import stores
from data.reading.page import Page
from pipeline.artifacts import Claim, claim, look
from pipeline.commands.clean import Clean
from pipeline.commands.inspect import Inspect
from pipeline.corpus.read import READERS, input_files
from pipeline.corpus.sample import advised_command
from pipeline.errors import ArtifactError
from pipeline.stage import Identity

TEXT = "The ferry leaves the old harbour every morning.\n\nTwice  the same.\nTwice  the same."

LONG = """The ferry to the northern island leaves the old harbour every morning at half past \
seven, and passengers should arrive about twenty minutes early, because the road beside the water \
is narrow, steep and slow to drive in winter.
On clear days you can see the lighthouse, the long beach and the hills behind the village, \
while the crossing itself takes nearly two hours and warm drinks are sold in the small \
upper cabin by the captain's two daughters.
Tickets can be bought on board with coins only, children travel without paying, and \
whoever brings a bicycle is asked to leave it with the crew at the stern, where it will be \
tied to the rail until the boat has landed again."""


def published(directory: Path) -> list[Path]:
    """Two files of mC4 and one of C4, as they are published."""
    names = {
        "c4-sw.tfrecord-00000-of-00001.json.gz": ["a", "b"],
        "c4-iw-validation.tfrecord-00000-of-00001.json.gz": ["c"],
        "c4-train.00000-of-00001.json.gz": ["d"],
    }
    for name, pages in names.items():
        lines = (
            json.dumps({"text": TEXT, "url": f"https://{page}.example/", "timestamp": "2019-04-25"})
            for page in pages
        )
        (directory / name).write_bytes(gzip.compress("\n".join(lines).encode()))
    return [directory / name for name in names]


def run(out: Path, inputs: list[Path], **fields) -> dict:
    paths = tuple(map(str, inputs))
    Clean(**{"input": paths, "rules": "none", "out": out} | fields).execute()
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def passed(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("published")
    run(directory / "out", published(directory))
    return directory / "out"


def test_published_pages_pass_through_unchanged_for_any_reader(passed):
    rows = pq.read_table(passed / "pages").to_pylist()
    assert {row["text"] for row in rows} == {TEXT}
    found = {(row["url"][8], row["language"], row["split"]) for row in rows}
    train = {("a", "sw", "train"), ("b", "sw", "train"), ("d", "en", "train")}
    assert found == train | {("c", "iw", "validation")}
    assert {row["timestamp"] for row in rows} == {"2019-04-25"}
    manifest = json.loads((passed / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["languages"]["iw"] == {
        "kept": 1, "held_out": 1, "rejected": {}, "characters": len(TEXT), "removed_lines": 0,
        "removed_lines_by_rule": {}, "confidence": {"0.00": 1},
    }  # fmt: skip
    assert sorted(pd.read_parquet(passed / "pages")["language"]) == ["en", "iw", "sw", "sw"]
    dataset = ds.dataset(passed / "pages")
    assert dataset.count_rows(filter=ds.field("split") == "train") == 3


def test_hugging_face_datasets_read_the_output_by_directory(passed, tmp_path, monkeypatch):
    """The splits and all columns, from the names of the files."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    import datasets  # reads the environment when it is imported

    read = datasets.load_dataset(str(passed / "pages"), cache_dir=str(tmp_path))
    found = {split: sorted(rows["language"]) for split, rows in read.items()}
    assert found == {"train": ["en", "sw", "sw"], "validation": ["iw"]}
    assert set(read["train"].column_names) >= {"text", "url", "timestamp", "language"}
    assert set(read["train"]["text"]) == {TEXT}


def printed_by(capture) -> str:
    return " ".join(capture.readouterr().err.split())


def own_text(directory: Path) -> Path:
    """Records without address: Swahili 12 times, three of them equal, and French twice."""
    texts = [("sw", f"Habari ya asubuhi {max(number, 2)}.") for number in range(12)]
    texts += [("fr", "Bonjour."), ("fr", "Bonsoir.")]
    lines = (json.dumps({"text": text, "language": code}) for code, text in texts)
    (directory / "own.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return directory / "own.jsonl"


def test_a_minimum_of_own_text_is_held_out_and_a_test_split_has_a_caution(tmp_path, capsys):
    (tmp_path / "test").mkdir()
    manifest = run(tmp_path / "out", [own_text(tmp_path / "test")], validation_minimum=4)
    rows = pq.read_table(tmp_path / "out/pages").to_pylist()
    for code, one in manifest["languages"].items():
        mine = [row for row in rows if row["language"] == code]
        held_out = {row["text"] for row in mine if row["split"] == "validation"}
        assert one["held_out"] == sum(row["split"] == "validation" for row in mine) > 0
        assert not held_out & {row["text"] for row in mine if row["split"] == "train"}
    printed = printed_by(capsys)
    assert "mswitch vocabulary --corpus" in printed
    assert "named as a validation or test split and were read" in printed


def test_a_corpus_without_a_page_names_no_next_command_before_text_is_added(tmp_path, capsys):
    (tmp_path / "other.jsonl").write_text('{"body": "Habari"}\n["Habari"]\n{"body": "."}')
    for _ in range(2):
        with pytest.raises(DataError, match="No page was kept; see the cautions above"):
            run(tmp_path / "empty", [tmp_path / "other.jsonl"], growable=True)
    printed = printed_by(capsys)
    assert "most as no_text (a record needs text in its field" in printed
    assert "next: mswitch" not in printed
    added = (str(own_text(tmp_path)),)
    Clean(input=added, onto=str(tmp_path / "empty"), out=tmp_path / "out").execute()
    assert "next: mswitch vocabulary --corpus" in (printed := printed_by(capsys))
    assert "test split" not in printed


def rows_declaring(path: Path, **pages: int) -> Path:
    """JSON Lines of pages that declare languages; `und_x` is written `und-x`."""
    declared = [name.replace("_", "-") for name, number in pages.items() for _ in range(number)]
    rows = ({"text": f"{TEXT} {n}", "language": code} for n, code in enumerate(declared))
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_tags_of_bcp_47_are_trained_on_and_most_of_the_bytes_are_not_left_out_silently(
    tmp_path, capsys
):
    file = rows_declaring(tmp_path / "a.jsonl", zh_CN=40, Swahili=8, sw=8, qaa=2, hi_Latn_IN=8)
    with file.open("a") as lines:
        lines.write("\n" + json.dumps({"text": "x" * (33 << 20), "language": "sw"}))
    manifest = run(tmp_path / "out", [file], validation_minimum=2)
    languages = manifest["languages"]
    kept = {code: entry["kept"] for code, entry in languages.items()}
    assert kept == {"zh": 40, "sw": 16, "hi-Latn": 8, "und": 2}
    assert manifest["declared"] == {
        "zh": {"zh-CN": 40}, "sw": {"Swahili": 8}, "hi-Latn": {"hi-Latn-IN": 8}, "und": {"qaa": 2},
    }  # fmt: skip
    size = manifest["broken_records"]["too_large"]["bytes"]
    assert size > 33 << 20
    printed = printed_by(capsys)
    assert "declared as zh-CN: counted as zh 40" in printed
    assert "2 of 66 kept pages declare no language or a code that is not known (qaa: 2)" in printed
    assert f"1 of 67 records, {size:,} of " in printed
    assert "most as too_large (a record has at most 32 MiB" in printed
    more = languages | {"und": languages["und"] | {"kept": 2000, "characters": 200_000}}
    advice = [list(advised_command(str(tmp_path / "out"), some)) for some in (languages, more)]
    assert advice[0] == advice[1] != []  # by the text of languages that train


def test_a_corpus_of_unknown_languages_alone_is_refused_and_its_codes_named(tmp_path, capsys):
    file = rows_declaring(tmp_path / "a.jsonl", qaa=3, tlh=2)
    for _ in range(2):  # also when it is finished
        with pytest.raises(DataError, match=r"language that is known \(qaa: 3, tlh: 2\), and"):
            run(tmp_path / "out", [file])
    assert "Next:" not in capsys.readouterr().err


def test_published_splits_are_not_mixed(tmp_path):
    with pytest.raises(DataError, match="published in the split 'validation'"):
        run(tmp_path / "out", published(tmp_path), validation_minimum=1)
    assert not (tmp_path / "out").exists()
    split = [{"text": TEXT, "url": "https://a.example/", "split": "validation"}]
    pd.DataFrame(split).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"a\.example/ was published in the split 'validation'"):
        run(tmp_path / "out", [tmp_path / "x.parquet"], validation_minimum=1)


def test_of_text_that_was_published_for_training_alone_a_share_is_held_out(tmp_path):
    rows = [{"text": f"{TEXT} {n}", "language": "sw"} for n in range(20)]
    pd.DataFrame(rows).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    run(tmp_path / "out", [tmp_path / "train-00000-of-00001.parquet"], validation_minimum=4)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["languages"]["sw"]["held_out"] == 4


def test_what_was_written_is_an_input(passed, tmp_path):
    run(tmp_path / "again", sorted((passed / "pages").rglob("*.parquet")))
    again, first = (
        pq.read_table(out / "pages").to_pylist() for out in (tmp_path / "again", passed)
    )
    assert again == first


def test_html_archives_parquet_and_lines_go_in_together(tmp_path):
    html = b"<title>T</title><p>" + b"A paragraph of an archive. " * 9
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://w.example/\r\n"
        f"WARC-Date: 2026\r\nContent-Type: application/http\r\nContent-Length: {len(http)}\r\n"
        "WARC-Identified-Content-Language: en\r\n\r\n"
    )
    (tmp_path / "x.warc.gz").write_bytes(gzip.compress(head.encode() + http + b"\r\n\r\n"))
    (tmp_path / "x.warc.wet.gz").write_bytes(member_of(Page("https://t.example/", TEXT, "2026")))
    pd.DataFrame({"text": [TEXT], "url": ["https://p.example/"]}).to_parquet(tmp_path / "x.parquet")
    files = [*published(tmp_path), *tmp_path.glob("x.*")]
    manifest = run(tmp_path / "out", files, rules="demo")
    assert (manifest["input"]["files"], manifest["input"]["records"]) == (6, 7)
    assert manifest["broken_records"] == {}


@pytest.mark.parametrize("rules", ["none", "demo"])
def test_of_declared_pages_only_those_that_were_asked_for_are_worked_on(
    tmp_path, monkeypatch, rules, capsys
):
    """Files of other languages are not opened; declared lines go when they are read."""
    files = published(tmp_path)
    lines = [{"text": LONG, "url": f"https://{n}.example/"} for n in range(4)]
    said = ({"language": "sw"}, {"lang": "fr"}, {"language": "he"}, {})
    declared = (json.dumps(line | more) for line, more in zip(lines, said, strict=True))
    (tmp_path / "x.jsonl").write_text("\n".join(declared))
    files[2].chmod(0)
    opened = []
    reads = READERS[".json.gz"]
    monkeypatch.setitem(READERS, ".json.gz", lambda path: opened.append(path.name) or reads(path))
    out = tmp_path / "out"
    manifest = run(out, [*files, tmp_path / "x.jsonl"], rules=rules, languages=("sw", "he"))
    assert sorted(opened) == sorted(path.name for path in files[:2])
    assert manifest["languages"].keys() == {"sw", "iw"}
    assert manifest["not_asked"] == {"files": {"en": 1}, "pages": {"fr": 1, "und": 1}}
    size = 3 * len(TEXT) + 4 * len(LONG)
    assert manifest["input"] == {"files": 3, "records": 7, "text_bytes": size}
    written = {path.parent.name for path in out.rglob("*.parquet")}
    assert written == {"sw", "iw"}
    capsys.readouterr()
    Inspect(directory=str(out)).execute()
    said = " ".join(capsys.readouterr().out.split())
    assert "2 pages of 2 languages were not asked for, and are in no file" in said


def test_input_of_other_languages_alone_is_refused(tmp_path):
    with pytest.raises(
        DataError, match="by their names all 3 files of the input are in iw, sw, en"
    ):
        run(tmp_path / "out", published(tmp_path), languages=("yo",))
    assert not (tmp_path / "out").exists()


def test_bad_words_in_the_job(tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "en").write_text("harbour\n")
    (tmp_path / "x.wet.gz").write_bytes(member_of(Page("https://t.example/", LONG, "2026")))
    inputs = [tmp_path / "x.wet.gz"]
    with pytest.raises(DataError, match="No page was kept"):
        run(tmp_path / "out", inputs, rules="mc4", bad_words=lists)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["languages"]["en"]["rejected"] == {"bad_words": 1}
    assert manifest["rules"]["differences_from_mc4"] == []
    without = run(tmp_path / "without", inputs, rules="mc4")
    assert without["languages"]["en"]["kept"] == 1
    assert without["languages"]["en"]["confidence"] == {"0.95": 1}
    assert "No lists of bad words" in without["rules"]["differences_from_mc4"][0]
    with pytest.raises(DataError, match="were given to the rules none, which use none"):
        run(tmp_path / "refused", inputs, bad_words=lists)


@pytest.fixture
def crawl(tmp_path) -> Iterator[tuple[str, list[str]]]:
    """A web server of two archives, and the requested paths."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

    for name in ("a", "b"):
        archive = tmp_path / f"www/crawl-data/{name}.warc.wet.gz"
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(member_of(Page(f"https://{name}.example/", f"{LONG}\n{name}", "2026")))
    serve = functools.partial(Handler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.slow
def test_a_list_of_paths_stands_for_the_files_of_a_crawl_at_its_server(crawl, tmp_path):
    """Other lists and servers make other corpora, although the names of files are the same."""
    base, asked = crawl
    names = ["crawl-data/a.warc.wet.gz", "crawl-data/b.warc.wet.gz"]
    paths, cache = tmp_path / "wet.paths.gz", tmp_path / "cache"
    paths.write_bytes(gzip.compress("\n".join(names).encode()))
    run_mc4 = functools.partial(run, inputs=[paths], rules="mc4")  # pages declare no language
    manifest = run_mc4(tmp_path / "out", crawl_base=base, crawl_cache=cache)
    assert manifest["settings"]["crawl_base"] == base
    assert manifest["input"] == {"files": 2, "records": 2, "text_bytes": 1350}
    assert sorted(asked) == [f"/{name}" for name in names]
    assert all((cache / base.replace("://", "/") / name).exists() for name in names)
    run_mc4(tmp_path / "again", crawl_base=base, crawl_cache=cache)
    assert len(asked) == 2  # what lies in the cache is not fetched again
    run_mc4(tmp_path / "without", crawl_base=base)
    assert len(asked) == 4
    pages = [pq.read_table(tmp_path / out / "pages") for out in ("out", "again", "without")]
    assert pages[0].equals(pages[1])
    assert pages[0].equals(pages[2])
    assert run_mc4(tmp_path / "out", crawl_base=f"{base}/") == manifest
    for other in (base.replace("127.0.0.1", "localhost"), f"{base}/mirror"):
        with pytest.raises(ArtifactError, match=r"made with other settings .*crawl_base"):
            run_mc4(tmp_path / "out", crawl_base=other)
    paths.write_bytes(gzip.compress("\n".join(names).replace("data", "more").encode()))
    with pytest.raises(ArtifactError, match=r"made from other inputs .*crawl"):
        run_mc4(tmp_path / "out", crawl_base=base)
    assert len(asked) == 4


def test_another_spelling_is_the_same_input_and_a_changed_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "web").mkdir()
    (tmp_path / "link").symlink_to("web")
    for name in ("a", "b"):
        (tmp_path / f"web/{name}.jsonl").write_text(json.dumps({"text": TEXT}))
    monkeypatch.chdir(tmp_path)

    def requested(*spelling: str) -> Identity:
        (job,) = Clean(input=spelling, rules="none", out="out").jobs()
        return job.intent().claimed_for

    claim("out", "clean", *requested("web/*.jsonl"))
    for spelling in (["./web/./*.jsonl"], [f"{tmp_path}/web/?.jsonl"], ["link/b.jsonl", "web/a*"]):
        assert input_files(spelling) == input_files(["web/*.jsonl"])
        assert look("out", "clean", *requested(*spelling)) is Claim.UNFINISHED
    assert len(input_files(["web/a.jsonl", "./web/a.jsonl"])) == 1
    (tmp_path / "web/b.jsonl").write_text(json.dumps({"text": TEXT * 2}))
    says = r"made from other inputs \(file b\.jsonl: another, or changed since\)"
    with pytest.raises(ArtifactError, match=says):
        look("out", "clean", *requested("web/*.jsonl"))


def test_a_stale_handle_of_a_network_disk_is_retried(tmp_path, monkeypatch):
    for name in ("FIRST_WAIT_SECONDS", "LONGEST_WAIT_SECONDS"):
        monkeypatch.setattr(stores, name, 0.001)
    opened, whole_open = [], Path.open

    def stale(path: Path, *arguments, **named):
        if path.name == "x.jsonl":
            opened.append(path)
            if len(opened) <= failures:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return whole_open(path, *arguments, **named)

    row = {"text": TEXT, "url": "https://x.example/", "language": "en"}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    monkeypatch.setattr(Path, "open", stale)
    failures = stores.ATTEMPTS
    with pytest.raises(DataError, match=rf"cannot be read \(\[Errno {errno.ESTALE}\]"):
        run(tmp_path / "out", [tmp_path / "x.jsonl"])
    assert len(opened) == failures
    opened.clear()
    failures -= 1
    assert run(tmp_path / "out", [tmp_path / "x.jsonl"])["input"]["records"] == 1


def test_of_many_broken_records_of_one_reason_each_keeps_its_place(tmp_path):
    """Damage is contiguous: a bad disk, an archive truncated while it was copied."""
    row = {"text": TEXT, "url": "https://x.example/", "language": "en"}
    good = json.dumps(row).encode() + b"\n"
    lines = [b'{"text": "cut\n' if number % 3 else good for number in range(30)]
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(b"".join(lines))
    manifest = run(tmp_path / "out", [tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    ((reason, said),) = manifest["broken_records"].items()
    assert (said["count"], len(said["samples"])) == (40, 5)
    starts = [sum(map(len, lines[:number])) for number in range(30) if number % 3]
    table = pq.read_table(tmp_path / "out" / "broken")
    assert table["offset"].to_pylist() == starts * 2
    assert [Path(name).name for name in table["file"].to_pylist()] == [
        *["a.jsonl"] * 20,
        *["b.jsonl"] * 20,
    ]
    assert set(table["reason"].to_pylist()) == {reason}
    assert all(table["detail"].to_pylist())
    Inspect(directory=str(tmp_path / "out")).execute()
    pq.write_table(table.slice(1), tmp_path / "out" / "broken" / "records.parquet")
    with pytest.raises(ArtifactError, match=r"broken/records\.parquet is missing or differs"):
        Inspect(directory=str(tmp_path / "out")).execute()
