import json
from collections import Counter, defaultdict
from pathlib import Path

import gflanguages
import pyarrow.parquet as pq
import pytest
from web_pages import ARCHIVES, pages_in

from data.dedup.line_dedup import keep_lines, line_hashes
from data.demo import member_of, shipped_pages, write
from data.errors import DataError
from data.language_id.cld3 import CLD3Identifier
from data.languages import codes
from data.reading.page import Page
from data.rules.english_lines import too_few_long_lines, too_long
from data.urls import normalize, normalized_hash, number, url_hash
from pipeline.commands.clean import Clean
from pipeline.errors import ArtifactError

TWO_WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def declaration(key: str, lines: int = 3) -> str:
    """Real text in `lines` lines of more than 200 characters."""
    sentence = gflanguages.LoadLanguages()[key].sample_text.specimen_16.replace("\n", " ")
    words = sentence.split()
    step = len(words) // lines + 1
    return "\n".join(
        f"{' '.join(words[first : first + step])} {sentence[:210]} {first}"
        for first in range(0, len(words), step)
    )


def page(name: str, text: str, language: str | None = None, timestamp: str = "2026") -> Page:
    return Page(f"https://{name}.example/", text, timestamp, language)


def cleaned(out: Path, pages: list[Page], **fields) -> dict:
    archive = out.parent / f"{out.name}.warc.wet.gz"
    archive.write_bytes(b"".join(map(member_of, pages)))
    Clean(**{"input": (str(archive),), "rules": "mc4", "out": out} | fields).execute()
    return json.loads((out / "manifest.json").read_text())


def rows(out: Path, kind: str) -> list[dict]:
    return [
        row for file in sorted((out / kind).rglob("*")) if file.is_file() for row in _rows(file)
    ]


def _rows(file: Path) -> list[dict]:
    return pq.ParquetFile(file).read().to_pylist()


def reasons(out: Path) -> set[tuple[str, str]]:
    return {(row["url"], row["reason"]) for row in rows(out, "rejected")}


def contents(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*.parquet")}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("demo")
    write(directory / "archive")
    pattern = str(directory / "archive" / "*.warc.wet.gz")
    Clean(input=(pattern,), rules="demo", out=directory / "clean").execute()
    return directory / "clean"


@pytest.fixture(scope="module")
def manifest(demo) -> dict:
    return json.loads((demo / "manifest.json").read_text())


@pytest.mark.slow
def test_the_demo_keeps_and_holds_out_pages_of_101_languages(manifest, demo):
    languages = manifest["languages"]
    assert len(languages) == 101
    assert all(one["kept"] > one["held_out"] >= 2 for one in languages.values())
    splits = defaultdict(set)
    for row in rows(demo, "pages"):
        splits[row["language"]].add(row["split"])
    assert set(splits) == set(languages)
    assert all(split == {"train", "validation"} for split in splits.values())


def test_read_is_kept_and_rejected(manifest, demo):
    kept, rejected = rows(demo, "pages"), rows(demo, "rejected")
    languages = manifest["languages"].values()
    read = manifest["input"]
    assert (read["files"], read["records"]) == (5, len(kept) + len(rejected))
    assert read["text_bytes"] >= sum(len(row["text"].encode()) for row in (*kept, *rejected))
    assert sum(one["kept"] for one in languages) == len(kept)
    assert sum(sum(one["rejected"].values()) for one in languages) == len(rejected)
    assert sum(one["characters"] for one in languages) == sum(len(row["text"]) for row in kept)
    assert all(row["reason"] for row in rejected)


def test_what_is_broken_is_counted_by_place(manifest):
    broken = manifest["broken_records"]
    assert {reason: one["count"] for reason, one in broken.items()} == {
        "invalid_utf8": 1,
        "no_url": 1,
        "truncated": 1,
        "unreadable": 1,
    }
    assert all(one["samples"][0].startswith("archive/demo-0000") for one in broken.values())


def test_every_broken_record_is_listed_with_its_place(manifest, demo):
    listed = rows(demo, "broken")
    assert [(one["file"], one["offset"]) for one in listed] == sorted(
        (one["file"], one["offset"]) for one in listed
    )
    places = Counter(f"{one['file']}@{one['offset']}" for one in listed)
    named = manifest["broken_records"].values()
    assert places == Counter(place for one in named for place in one["samples"])


def test_cld3_beside_the_declaration_takes_yoruba_for_vietnamese(manifest, demo):
    yoruba = manifest["languages"]["yo"]
    assert yoruba["cld3"]["said"]["vi"] > yoruba["kept"] / 2
    assert yoruba["cld3"]["disagrees"] == sum(yoruba["cld3"]["said"].values())
    probability = {row["language_probability"] for row in rows(demo, "pages/yo")}
    assert probability == {0.0}


def test_planted_pages_are_rejected(demo):
    found = reasons(demo)
    original = next(shipped_pages()).url
    assert ("https://crawl.example/short", "too_few_long_lines") in found
    assert (original, "duplicate_url") in found
    doubles = {url for url, reason in found if reason == "only_duplicate_lines"}
    assert doubles & {original, "https://crawl.example/mirror"}


def test_files_are_named_and_shaped_as_agreed(demo):
    (train,) = (demo / "pages/sw").glob("train*")
    assert train.name == "train-00000-of-00001.parquet"
    columns = ["text", "url", "timestamp", "language", "language_probability", "split"]
    assert pq.read_schema(train).names == columns
    (rejected,) = (demo / "rejected/en").iterdir()
    assert pq.read_schema(rejected).names == [*columns, "reason"]
    assert pq.read_table(demo / "pages").num_rows == len(rows(demo, "pages"))
    assert {path.name for path in demo.iterdir()} == {
        "README.md",
        "broken",
        "manifest.json",
        "metadata.json",
        "pages",
        "rejected",
    }


def test_the_same_command_again_does_nothing_and_another_one_is_refused(demo, capsys):
    before = (demo / "manifest.json").stat().st_mtime_ns
    pattern = str(demo.parent / "archive" / "*.warc.wet.gz")
    Clean(input=(pattern,), rules="demo", out=demo).execute()
    assert "is finished" in capsys.readouterr().err
    assert (demo / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ArtifactError, match="rules: there demo, asked mc4"):
        Clean(input=(pattern,), rules="mc4", out=demo).execute()


def test_a_language_that_is_not_there_is_not_in_the_manifest(tmp_path):
    some = [one for one in shipped_pages() if one.declared_language in ("sw", "mi", "haw")]
    fewer = [one for one in some if one.declared_language != "mi"]
    assert set(cleaned(tmp_path / "a", some, rules="demo")["languages"]) == {"sw", "mi", "haw"}
    assert set(cleaned(tmp_path / "b", fewer, rules="demo")["languages"]) == {"sw", "haw"}


def test_mc4_rules_have_reasons(tmp_path):
    swahili, english = declaration("sw_Latn"), declaration("en_Latn")
    pages = [
        page("kept", swahili, "en"),
        page("www.fetched", english, "en", "2025"),
        page("fetched", english + "\nNewer.", "en", "2026"),
        page("short", "Habari.\n" * 9, "sw"),
        page("long", english * 400, "en"),
        page("croatian", declaration("hr_Latn")),  # Croatian or Bosnian: CLD3's probability is 0.51
        page("mirror", swahili.upper(), "sw"),
    ]
    manifest = cleaned(tmp_path / "out", pages)
    found = reasons(tmp_path / "out")
    mirrored = max("https://kept.example/", "https://mirror.example/", key=url_hash)
    assert found == {
        ("https://www.fetched.example/", "duplicate_url"),
        ("https://short.example/", "too_few_long_lines"),
        ("https://long.example/", "too_long"),
        (mirrored, "only_duplicate_lines"),
    }
    kept = {row["url"]: row["language"] for row in rows(tmp_path / "out", "pages")}
    assert kept["https://fetched.example/"] == "en"
    assert kept["https://croatian.example/"] == "und"
    assert manifest["languages"]["sw"]["kept"] == 1


@pytest.mark.slow
def test_one_language_of_a_run_for_all_is_a_run_for_one(tmp_path):
    pages = [page("a", declaration("sw_Latn")), page("b", declaration("en_Latn"))]
    both = [*pages, page("c", declaration("sw_Latn", 4) + "\n" + declaration("en_Latn"))]
    cleaned(tmp_path / "all", both)
    manifest = cleaned(tmp_path / "one", both, languages=("swa",))
    swahili = [row for row in rows(tmp_path / "all", "pages") if row["language"] == "sw"]
    assert rows(tmp_path / "one", "pages") == swahili
    assert "en" not in manifest["languages"]
    assert manifest["not_asked"] == {"files": {}, "pages": {"en": 1}}


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["mc4", "mc4-3.0.1"])
def test_files_of_an_asked_language_are_those_of_a_run_for_all(tmp_path, rules):
    """Byte for byte, with lines kept by other pages, bad words and duplicates.

    Bad words are searched only in pages of the requested languages.
    """
    codes = ("sw", "zu", "en", "yo", "id")
    pages = [one for one in shipped_pages() if one.declared_language in codes]
    shared = declaration("sw_Latn", 4)
    pages = [one._replace(text=f"{one.text}\n{shared}") for one in pages]
    pages += [one._replace(timestamp="2001") for one in pages[::9]]
    pages += [page(f"x{n}", declaration(key, 4)) for n, key in enumerate(("sw_Latn", "en_Latn"))]
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


def test_bytes_do_not_depend_on_workers_or_the_order_of_files(tmp_path):
    pages = [one for one in shipped_pages() if one.declared_language in ("sw", "yo", "ja")]
    archives = [tmp_path / f"{name}.wet.gz" for name in "abc"]
    archives[0].write_bytes(b"".join(map(member_of, pages)))
    archives[1].write_bytes(b"".join(map(member_of, pages[:50])))
    archives[2].write_bytes(b"".join(map(member_of, reversed(pages[50:]))))
    outs = tmp_path / "one", tmp_path / "two"
    Clean(input=(str(archives[0]),), rules="demo", out=outs[0]).execute()
    two = tuple(map(str, archives[1:]))
    Clean(input=two, rules="demo", out=outs[1], beam=TWO_WORKERS).execute()
    assert contents(outs[0]) == contents(outs[1])


def test_unknown_language_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="not one of mC4's 107 codes"):
        cleaned(tmp_path / "out", [page("a", "x")], languages=("klingon",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("archives", ARCHIVES.values(), ids=ARCHIVES)
def test_the_job_is_mc4_in_plain_python(tmp_path, archives):
    Clean(input=tuple(map(str, archives)), rules="mc4", out=tmp_path / "out").execute()
    kept = {row["url"]: (row["text"], row["language"], row["split"])
            for row in rows(tmp_path / "out", "pages")}  # fmt: skip
    assert kept == plain_mc4(pages_in(archives))
    assert len(kept) > 50


def plain_mc4(pages: list[Page]) -> dict[str, tuple[str, str, str]]:
    """Applies mC4's rules one after the other, in memory."""
    newest: dict[str, Page] = {}
    for one in sorted(pages, key=lambda one: one.timestamp):
        if too_long(one) is None:
            newest[normalize(one.url)] = one
    long = [one for one in newest.values() if not too_few_long_lines(one, lines=3, characters=200)]
    owner: dict[bytes, tuple[str, int]] = {}
    for one in sorted(long, key=lambda one: url_hash(one.url)):
        for number_in_page, line in enumerate(line_hashes(one.text)):
            owner.setdefault(line, (one.url, number_in_page))
    identifier, known, kept = CLD3Identifier(), {*codes(None), "und"}, {}
    for one in long:
        hashes = enumerate(line_hashes(one.text))
        text = keep_lines(one.text, [owner[line] == (one.url, at) for at, line in hashes])
        language = identifier.identify(text).language_above(0.95)
        held_out = number(normalized_hash(one.url)) % 1000 == 0
        if text and language in known:
            kept[one.url] = (text, language, "validation" if held_out else "train")
    return kept
