import json
from collections import Counter, defaultdict
from pathlib import Path

import gflanguages
import pyarrow.parquet as pq
import pytest
from web_pages import pages_in

from data.demo import member_of, shipped_pages, write
from data.reading.page import Page
from pipeline.commands.clean import Clean
from pipeline.errors import ArtifactError

LANGUAGES = ("yo", "sw", "en", "ja")
TWO_WORKERS = ("--direct_running_mode=multi_threading", "--direct_num_workers=2")


def declaration(key: str) -> str:
    """Real text in four lines of more than 200 characters."""
    sentence = gflanguages.LoadLanguages()[key].sample_text.specimen_16.replace("\n", " ")
    words = sentence.split()
    step = len(words) // 4 + 1
    return "\n".join(
        f"{' '.join(words[first : first + step])} {sentence[:210]} {first}"
        for first in range(0, len(words), step)
    )


def cleaned(out: Path, pages: list[Page], **fields) -> dict:
    archive = out.parent / f"{out.name}.warc.wet.gz"
    archive.write_bytes(b"".join(map(member_of, pages)))
    Clean(**{"input": (str(archive),), "rules": "mc4", "out": out} | fields).execute()
    return json.loads((out / "manifest.json").read_text())


def rows(out: Path, kind: str) -> list[dict]:
    """Returns the rows of all files, each of which can be read alone."""
    files = sorted((out / kind).rglob("*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def reasons(out: Path) -> set[tuple[str, str]]:
    return {(row["url"], row["reason"]) for row in rows(out, "rejected")}


def contents(out: Path) -> dict[str, bytes]:
    """Returns the files of pages."""
    return {str(file.relative_to(out)): file.read_bytes() for file in out.glob("*/*/*.parquet")}


def demo_of(directory: Path, pages: list[Page] | None) -> Clean:
    """Writes the demo's archives of pages, or of all; returns their cleaning."""
    write(directory / "archive", pages)
    pattern = str(directory / "archive" / "*.warc.wet.gz")
    return Clean(input=(pattern,), rules="demo", out=directory / "clean")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    first = next(shipped_pages())  # of which copies are planted
    some = [page for page in shipped_pages() if page.declared_language in LANGUAGES]
    asked = demo_of(tmp_path_factory.mktemp("demo"), [first, *some])
    asked.execute()
    return Path(asked.out)


@pytest.fixture(scope="module")
def manifest(demo) -> dict:
    return json.loads((demo / "manifest.json").read_text())


@pytest.mark.slow
def test_the_demo_keeps_and_holds_out_pages_of_101_languages(tmp_path):
    demo_of(tmp_path, None).execute()
    languages = json.loads((tmp_path / "clean/manifest.json").read_text())["languages"]
    assert len(languages) == 101
    assert all(one["kept"] > one["held_out"] >= 2 for one in languages.values())
    splits = defaultdict(set)
    for row in rows(tmp_path / "clean", "pages"):
        splits[row["language"]].add(row["split"])
    assert set(splits) == set(languages)
    assert all(split == {"train", "validation"} for split in splits.values())


def test_read_is_kept_and_rejected(manifest, demo):
    kept, rejected = rows(demo, "pages"), rows(demo, "rejected")
    languages, read = manifest["languages"], manifest["input"]
    assert languages.keys() >= {*LANGUAGES}
    assert languages.keys() == {row["language"] for row in (*kept, *rejected)}
    assert (read["files"], read["records"]) == (5, len(kept) + len(rejected))
    assert read["text_bytes"] >= sum(len(row["text"].encode()) for row in (*kept, *rejected))
    for code, one in languages.items():
        mine = [row for row in kept if row["language"] == code]
        gone = Counter(row["reason"] for row in rejected if row["language"] == code)
        assert (one["kept"], one["rejected"]) == (len(mine), gone)
        assert one["characters"] == sum(len(row["text"]) for row in mine)


def test_every_broken_record_is_counted_and_listed_with_its_place(manifest, demo):
    named, listed = manifest["broken_records"], rows(demo, "broken")
    reasons = ("invalid_utf8", "no_url", "truncated", "unreadable")
    assert {reason: one["count"] for reason, one in named.items()} == dict.fromkeys(reasons, 1)
    places = [(one["file"], one["offset"]) for one in listed]
    assert places == sorted(places)
    samples = Counter(place for one in named.values() for place in one["samples"])
    assert samples == Counter(f"{file}@{offset}" for file, offset in places)
    assert all(file.startswith("archive/demo-0000") for file, _ in places)


def test_cld3_beside_the_declaration_takes_yoruba_for_vietnamese(manifest, demo):
    yoruba = manifest["languages"]["yo"]
    assert yoruba["cld3"]["said"]["vi"] > yoruba["kept"] / 2
    assert yoruba["cld3"]["disagrees"] == sum(yoruba["cld3"]["said"].values())
    assert {row["language_probability"] for row in rows(demo, "pages/yo")} == {0.0}


def test_planted_pages_are_rejected(demo):
    found, original = reasons(demo), next(shipped_pages()).url
    assert ("https://crawl.example/short", "too_few_long_lines") in found
    assert (original, "duplicate_url") in found
    doubles = {url for url, reason in found if reason == "only_duplicate_lines"}
    assert doubles & {original, "https://crawl.example/mirror"}


def test_files_are_named_and_shaped_as_agreed(demo):
    (train,) = (demo / "pages/sw").glob("train*")
    assert train.name == "train-00000-of-00001.parquet"
    columns = ["text", "url", "timestamp", "language", "language_probability", "split"]
    assert pq.read_schema(train).names == columns
    rejected = min((demo / "rejected").rglob("*.parquet"))
    assert pq.read_schema(rejected).names == [*columns, "reason"]
    assert pq.read_table(demo / "pages").num_rows == len(rows(demo, "pages"))
    folders = ("broken", "pages", "rejected")
    names = {"README.md", "manifest.json", "metadata.json", *folders}
    assert {path.name for path in demo.iterdir()} == names


def test_the_same_command_again_does_nothing_and_another_one_is_refused(demo, capsys):
    before = (demo / "manifest.json").stat().st_mtime_ns
    pattern = str(demo.parent / "archive" / "*.warc.wet.gz")
    Clean(input=(pattern,), rules="demo", out=demo).execute()
    assert "is finished" in capsys.readouterr().err
    assert (demo / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ArtifactError, match="rules: there demo, asked mc4"):
        Clean(input=(pattern,), rules="mc4", out=demo).execute()


def test_bytes_do_not_depend_on_workers_or_the_order_of_files(demo, tmp_path):
    pages = pages_in(tuple(sorted((demo.parent / "archive").glob("*.gz"))))
    for name, some in (("a", pages[:50]), ("b", pages[:49:-1])):
        (tmp_path / f"{name}.wet.gz").write_bytes(b"".join(map(member_of, some)))
    out = tmp_path / "out"
    Clean(input=(f"{tmp_path}/*.gz",), rules="demo", out=out, beam=TWO_WORKERS).execute()
    assert contents(out) == contents(demo)


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["mc4", "mc4-3.0.1"])
def test_files_of_an_asked_language_are_those_of_a_run_for_all(tmp_path, rules):
    """Byte for byte, with lines kept by other pages, bad words and duplicates.

    Bad words are searched only in pages of the requested languages.
    """
    codes = ("sw", "zu", "en", "yo", "id")
    pages = [one for one in shipped_pages() if one.declared_language in codes]
    shared = declaration("sw_Latn")
    pages = [one._replace(text=f"{one.text}\n{shared}") for one in pages]
    pages += [one._replace(timestamp="2001") for one in pages[::9]]
    pages += [
        Page(f"https://x{n}.example/", declaration(key), "2026")
        for n, key in enumerate(("sw_Latn", "en_Latn"))
    ]
    lists = tmp_path / "lists"
    lists.mkdir()
    for code, word in (("sw", "watu"), ("en", "the")):
        (lists / code).write_text(f"{word}\n")
    fields = {"rules": rules, "bad_words": lists}
    every = cleaned(tmp_path / "all", pages, **fields)
    one = cleaned(tmp_path / "one", pages, languages=("sw",), **fields)
    whole, part = contents(tmp_path / "all"), contents(tmp_path / "one")
    swahili = {name for name in whole if name.split("/")[1] == "sw"}
    assert {name.split("/")[0] for name in swahili} == {"pages", "rejected"}
    assert {name: part.get(name) for name in swahili} == {name: whole[name] for name in swahili}
    assert one["languages"]["sw"] == every["languages"]["sw"]
    left_out = one["not_asked"]["pages"]
    assert left_out["en"] > every["languages"]["en"]["kept"]  # and those with bad words
    assert not any(name.startswith("pages/") for name in part.keys() - swahili)
    fates = (one["languages"].values(), every["languages"].values())
    read = [sum(each["kept"] + sum(each["rejected"].values()) for each in of) for of in fates]
    assert read[0] + sum(left_out.values()) == read[1] == one["input"]["records"]
