"""`mswitch-web` as a job over files equals its rules in memory, for any size of shards."""

import importlib.util
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from web_pages import ARCHIVES, pages_in

from data.demo import member_of, shipped_pages
from data.language_id.combined import CombinedIdentifier
from data.reading import page as page_table
from data.reading.page import Page
from data.rules import rule_sets, web_lines
from data.rules.held_out import ShareOfEachLanguage
from data.rules.rule_sets import mswitch_web
from data.urls import normalize
from pipeline.corpus import clean, spills
from pipeline.corpus.clean import cleaning
from pipeline.corpus.read import Cut
from pipeline.corpus.rules import requested_rules

MODEL = str(Path(__file__).parents[3] / "data/language_id/six_languages.bin")
SMALL = Cut(shard_bytes=1, chunk_characters=10_000, partition_bytes=3_000)
LARGER = Cut(shard_bytes=1, chunk_characters=400_000, partition_bytes=300_000)

_SPEC = importlib.util.spec_from_file_location(
    "in_memory", Path(__file__).parents[3] / "data/rules/test_rule_sets.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
in_memory = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(in_memory)


def made_pages() -> list[Page]:
    """Returns pages that are kept, near-duplicates, share lines, or have no sentences."""
    swahili, thai = in_memory.pages_of("sw", 12), in_memory.pages_of("th", 9)
    text = swahili[3].text.replace("watu", "WATU mtu", 1)
    copies = [Page(url=f"http://copy{number}.example/", text=text) for number in range(3)]
    lines = [line for page in swahili[:2] for line in page.text.split("\n")[1:3]]
    shared = Page(url="http://shared.example/", text="\n".join(lines).upper())
    menu = Page(url="http://menu.example/", text="Home | Contact\n" * 50)
    pages = [*swahili, *thai, *copies, shared, menu]
    return [page._replace(timestamp="2026") for page in pages]


def run(out: Path, pages: list[Page], cut: Cut = SMALL, **fields) -> dict:
    for number in range(3):
        archive = out.parent / f"{out.name}-{number}.warc.wet.gz"
        archive.write_bytes(b"".join(map(member_of, pages[number::3])))
    pattern = f"{out.parent}/{out.name}-*.warc.wet.gz"
    cleaning((pattern,), out, cut=cut, **{"rules": "mswitch-web"} | fields).run()
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def rows(directory: Path) -> list[dict]:
    return [
        row
        for path in sorted(directory.rglob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def agree(out: Path, pages: list[Page]) -> None:
    """Asserts that the job's pages, reasons and sizes of clusters are those in memory."""
    kept, reasons, sizes = in_memory.cleaned(pages)
    found = {
        (row["url"], row["text"], row["language"], row["split"]) for row in rows(out / "pages")
    }
    assert found == {(page.url, page.text, page.language, page.split) for page in kept}
    assert {row["url"]: row["reason"] for row in rows(out / "rejected")} == reasons
    clusters = {row["url"]: row["cluster_size"] for row in rows(out / "pages")}
    assert {url: size for url, size in clusters.items() if size > 1} == {
        url: size for url, size in sizes.items() if url in clusters
    }


@pytest.mark.slow
def test_other_languages_go_as_soon_as_the_language_is_decided(tmp_path, monkeypatch):
    """They then hold no keys and no lines; near-duplicates are always of one language."""
    monkeypatch.setattr(rule_sets, "mswitch_web", lambda: in_memory.RULES)
    monkeypatch.setattr(clean, "clear", lambda out: None)
    pages = made_pages()
    every = run(tmp_path / "all", pages)
    one = run(tmp_path / "one", pages, languages=("th",))
    thai = [row for row in rows(tmp_path / "all/pages") if row["language"] == "th"]
    assert thai
    assert rows(tmp_path / "one/pages") == thai
    assert one["languages"]["th"] == every["languages"]["th"]
    assert one["not_asked"]["pages"]["sw"] > every["languages"]["sw"]["kept"]
    (work,) = (path for path in (tmp_path / "one/work").iterdir() if path.name != "scratch")
    worked_on = [page for path in (work / "resemble").glob("*.arrow") for page in spilled(path)]
    assert {page.language for page in worked_on} == {"th"}


def spilled(path: Path) -> list[Page]:
    return [
        page for batch in spills.batches(str(path)) for page in page_table.batch_to_pages(batch)
    ]


@pytest.mark.slow
def test_the_job_is_the_rules_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rule_sets, "mswitch_web", lambda: in_memory.RULES)
    pages = made_pages()
    run(tmp_path / "out", pages)
    agree(tmp_path / "out", pages)
    reasons = {row["reason"] for row in rows(tmp_path / "out/rejected")}
    assert reasons == {"near_duplicate", "only_duplicate_lines", "no_sentences"}
    assert max(row["cluster_size"] for row in rows(tmp_path / "out/pages")) == 4


@pytest.mark.parametrize("archives", ARCHIVES.values(), ids=ARCHIVES)
def test_the_job_is_the_rules_in_memory_on_web_pages(tmp_path, monkeypatch, archives):
    monkeypatch.setattr(in_memory, "RULES", mswitch_web())
    pages = list({normalize(page.url): page for page in pages_in(archives)}.values())[:150]
    run(tmp_path / "out", pages, LARGER)
    agree(tmp_path / "out", pages)


@pytest.mark.slow
def test_a_fasttext_model_decides_with_the_others_where_it_is_named(tmp_path):
    pages = [p for p in made_pages() if p.text]
    for name, model in (("without", None), ("with", MODEL)):
        run(tmp_path / name, pages, language_identifier=model)
        ask = CombinedIdentifier(model).identify
        # Lines go after the decision, so a page is the one that was read.
        read = {page.url: ask(web_lines.clean(page.text).text) for page in pages}
        found = rows(tmp_path / f"{name}/pages")
        assert {row["language"] for row in found} >= {"sw", "th"}
        assert all(row["language"] in (read[row["url"]].language, "und") for row in found)
        chances = {row["url"]: row["language_probability"] for row in found}
        assert chances == {url: pytest.approx(read[url].probability) for url in chances}


@pytest.mark.slow
def test_text_that_is_no_language_is_rejected(tmp_path):
    lines = "".join(f"{number:08x} " * 30 + ".\n" for number in range(5))
    digests = Page(url="http://digests.example/", text=lines, timestamp="2026")
    manifest = run(tmp_path / "out", [*made_pages(), digests], rules="mswitch-web")
    assert manifest["languages"]["und"]["rejected"]["not_a_language"] == 1
    (row,) = [row for row in rows(tmp_path / "out/rejected") if row["url"] == digests.url]
    assert (row["reason"], row["language"]) == ("not_a_language", "und")


@pytest.mark.parametrize(
    "name, given, share, minimum",
    [
        ("demo", (None, 3), 0.12, 3),
        ("mswitch-web", (0.01, None), 0.01, 10),
        ("mc4", (None, 3), 0.001, 3),
        ("mc4", (0.01, None), 0.01, 0),
    ],
)
def test_what_is_not_given_of_held_out_pages_is_the_rules_own(name, given, share, minimum):
    held_out = requested_rules(name, *given).held_out
    assert isinstance(held_out, ShareOfEachLanguage)
    assert (held_out.share, held_out.minimum) == (share, minimum)


@pytest.mark.slow
def test_settings_of_the_user(tmp_path):
    pages = [p for p in shipped_pages() if p.declared_language in ("sw", "en", "de", "fr")]
    fields = {"rules": "demo", "validation_share": 0.3, "validation_minimum": 1}
    manifest = run(tmp_path / "out", pages, language_identifier=MODEL, **fields)
    for one in manifest["languages"].values():
        assert one["held_out"] == max(1, -(-3 * one["kept"] // 10))
    assert "six_languages.bin" in " ".join(manifest["rules"]["differences_from_mc4"])
    assert manifest["rules"]["held_out"].startswith("30% of each language's pages")
    with pytest.raises(ValueError, match="made with other settings"):
        run(tmp_path / "out", pages, **(fields | {"validation_share": 0.2}))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"validation_share": 1.5}, "validation share of 1.5 was asked for"),
        ({"rules": "c4-en", "language_identifier": MODEL}, "do not use CLD3"),
        ({"language_identifier": __file__}, "fastText"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", [Page("http://a.example/", "x", "2026")], **fields)
    assert not (tmp_path / "out").exists()
