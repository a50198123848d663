"""`mswitch withdraw`: listed sites leave a corpus, and nothing else changes."""

import contextlib
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpora import record_files, rows_in, texts_of, write_corpus

from data.reading.page import BROKEN, BrokenRecord
from data.reading.records import address_of
from pipeline import cli
from pipeline.artifacts import CLAIM, MANIFEST
from pipeline.beam.workspace import Workspace
from pipeline.commands.clean import Clean
from pipeline.commands.score import Score
from pipeline.commands.select import Select
from pipeline.commands.withdraw import Withdraw
from pipeline.corpus import read as broken_records
from pipeline.corpus.card import rejected_share
from pipeline.corpus.pages import WITHDRAWAL, corpus_digests, read_corpus
from pipeline.curation import withdraw as withdrawal
from pipeline.curation.withdraw import RemoveSites
from pipeline.errors import ArtifactError

SITES = "site1.sw.example\nhttps://site0.en.example/page/1\nnobody.example\n"


@pytest.fixture
def corpus(tmp_path):
    """A corpus of two languages, three files each, ten pages each."""
    return write_corpus(tmp_path / "corpus", {code: texts_of(code, 10) for code in ("en", "sw")})


@pytest.fixture
def sites(tmp_path):
    """A list of one site and one page."""
    path = tmp_path / "sites.txt"
    path.write_text(SITES, encoding="utf-8")
    return str(path)


def is_listed(url: str) -> bool:
    return url.startswith("https://site1.sw.example/") or url == "https://site0.en.example/page/1"


def withdraw(corpus, sites, reason="a request of its owner"):
    Withdraw(corpus=str(corpus), sites=(sites,), reason=reason).execute()


def files(corpus):
    return {path: path.read_bytes() for path in corpus.rglob("*.parquet")}


def test_listed_pages_are_gone_and_other_files_are_the_same(corpus, sites):
    before, content = rows_in(corpus), files(corpus)
    stay = [row for row in before if not is_listed(row["url"])]
    withdraw(corpus, sites)
    assert rows_in(corpus) == stay
    assert len(before) - len(stay) == 4
    changed = {path for path, was in content.items() if path.read_bytes() != was}
    assert 0 < len(changed) < len(content)
    assert not (corpus / WITHDRAWAL).exists()


def test_text_that_a_killed_cleaning_left_is_gone_too(corpus, sites):
    for folder in ("work/0123/read", "growth", "delta"):
        (corpus / folder).mkdir(parents=True)
        (corpus / folder / "00000.arrow").write_bytes(b"text")
    (job,) = Withdraw(corpus=str(corpus), sites=(sites,), reason="a request").jobs()
    assert job.intent().writes.endswith("removes growth/, delta/, work/ if a page is listed")
    withdraw(corpus, sites)
    assert not list(corpus.rglob("00000.arrow"))


@pytest.mark.parametrize("not_asked", [{}, {"de": 3}])
def test_a_list_of_nothing_costs_no_later_addition(corpus, tmp_path, not_asked):
    (corpus / "growth").mkdir()
    manifest = json.loads((corpus / MANIFEST).read_text())
    manifest["not_asked"] = {"files": {}, "pages": not_asked}  # their text lies in growth/ alone
    (corpus / MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "sites.txt").write_text("exmaple.org\n")
    asked = Withdraw(corpus=str(corpus), sites=(str(tmp_path / "sites.txt"),), reason="a request")
    (job,) = asked.jobs()
    assert job.intent().writes.endswith("if a page is listed") == (not not_asked)
    withdraw(corpus, str(tmp_path / "sites.txt"))
    assert (corpus / "growth").exists() == (not not_asked)


def test_a_page_without_an_address_is_withdrawn_by_its_digest(corpus, tmp_path):
    path = next((corpus / "pages/sw").glob("train-*.parquet"))
    table, digest = pq.read_table(path), address_of("Habari.")
    urls = [digest, *table["url"].to_pylist()[1:]]
    pq.write_table(table.set_column(table.schema.get_field_index("url"), "url", [urls]), path)
    record_files(corpus)
    (tmp_path / "sites.txt").write_text(digest)
    withdraw(corpus, str(tmp_path / "sites.txt"))
    assert [row["url"] for row in rows_in(corpus) if row["url"] in urls] == urls[1:]


def test_listed_addresses_of_broken_records_are_blanked_and_the_rest_stays(corpus, sites):
    listed = "https://site0.en.example/page/1"
    gone = ["https://site1.sw.example/x", f"{listed}: 'utf-8' codec can't decode byte 0xe9"]
    details = [*gone, "https://other.example/", "", "line 3: no text"]
    records = [BrokenRecord("a/b.warc", n, "no_text", one) for n, one in enumerate(details)]
    path = corpus / broken_records.BROKEN_NAME
    path.parent.mkdir()
    pq.write_table(pa.Table.from_batches([broken_records.broken_batch(records)]), path)
    record_files(corpus)
    withdraw(corpus, sites)
    left = pq.read_table(path)
    assert left["detail"].to_pylist() == ["", "", *details[2:]]
    assert left["offset"].to_pylist() == [0, 1, 2, 3, 4]
    assert left.schema == BROKEN


def test_rejected_pages_of_a_listed_site_are_gone_too(corpus, tmp_path):
    path = tmp_path / "sites.txt"
    path.write_text("site3.en.example\n", encoding="utf-8")
    assert len(rows_in(corpus, "rejected")) == 4
    withdraw(corpus, str(path))
    assert [row["language"] for row in rows_in(corpus, "rejected")] == ["sw", "sw"]
    assert read_corpus(corpus).languages["en"].rejected == {}


def test_the_manifest_counts_what_is_there_and_what_went(corpus, sites):
    lost = [row for row in rows_in(corpus) if is_listed(row["url"])]
    withdraw(corpus, sites)
    rows = rows_in(corpus)
    for code, entry in read_corpus(corpus).languages.items():
        here = [row for row in rows if row["language"] == code]
        assert entry.kept == len(here) == sum(entry.confidence.values())
        assert entry.held_out == sum(row["split"] == "validation" for row in here)
        assert entry.characters == sum(len(row["text"]) for row in here)
    (told,) = json.loads((corpus / MANIFEST).read_text())["withdrawals"]
    assert told["reason"] == "a request of its owner"
    assert told["hosts"] == {"site0.en.example": 1, "site1.sw.example": 3}
    assert {code: one["kept"] for code, one in told["languages"].items()} == Counter(
        row["language"] for row in lost
    )
    lines = sum(row["text"].count("\n") + 1 for row in lost)
    assert sum(one["lines_gone"] for one in told["languages"].values()) == lines
    copies = sum(row["cluster_size"] - 1 for row in lost)
    assert sum(one["copies_gone"] for one in told["languages"].values()) == copies
    assert cli.run(["inspect", str(corpus)]) == 0


@pytest.fixture
def unfinished(corpus, sites, monkeypatch):
    """The corpus after a withdrawal that was killed when it had changed some of its files."""
    work, done = RemoveSites.__call__, []

    def killed(step, number):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(number)
        return work(step, number)

    with monkeypatch.context() as patched:
        patched.setattr(RemoveSites, "__call__", killed)
        with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
            withdraw(corpus, sites)
    return corpus


def test_a_killed_withdrawal_goes_on_and_counts_each_page_once(unfinished, sites, tmp_path):
    whole = write_corpus(tmp_path / "whole", {code: texts_of(code, 10) for code in ("en", "sw")})
    withdraw(whole, sites)
    with pytest.raises(ArtifactError, match=r"unfinished withdrawal .*'a request of its owner'"):
        withdraw(unfinished, sites, "another reason")
    withdraw(unfinished, sites)
    assert rows_in(unfinished) == rows_in(whole)
    found, expected = (json.loads((one / MANIFEST).read_text()) for one in (unfinished, whole))
    assert found["languages"] == expected["languages"]
    for one in (found, expected):
        for name in ("key", "sites", "manifest"):
            del one["withdrawals"][0][name]
    assert found["withdrawals"] == expected["withdrawals"]


@pytest.mark.parametrize("edited", ["site2.en.example\nsite0.sw.example\n", "com\n", None])
def test_a_list_that_was_changed_after_a_kill_blocks_nothing(unfinished, sites, edited, capfd):
    """And the withdrawal ends with the list as it was."""
    before = [row for row in rows_in(unfinished) if not is_listed(row["url"])]
    if edited is None:
        Path(sites).unlink()
    else:
        Path(sites).write_text(edited, encoding="utf-8")
    withdraw(unfinished, sites)
    assert rows_in(unfinished) == before
    assert "run the command again if they have changed since" in capfd.readouterr().err
    (told,) = json.loads((unfinished / MANIFEST).read_text())["withdrawals"]
    assert told["hosts"] == {"site0.en.example": 1, "site1.sw.example": 3}
    assert cli.run(["inspect", str(unfinished)]) == 0


def test_commands_that_read_a_corpus_see_an_unfinished_withdrawal(unfinished, sites, tmp_path):
    out, sentence = str(tmp_path / "out"), "holds an unfinished withdrawal .* run that mswitch"
    place = str(unfinished)
    for read in (
        lambda: corpus_digests([place]),  # of vocabulary and tokenize
        lambda: [job.intent() for job in Score(corpus=place, out=out).jobs()],
        lambda: [job.intent() for job in Select(corpus=place, scores=out, out=out).jobs()],
        lambda: [*Clean(onto=place, input=("x.wet",), out=out).jobs()],
    ):
        with pytest.raises(ArtifactError, match=sentence):
            read()
    withdraw(unfinished, sites)
    assert corpus_digests([place])


def test_a_withdrawal_that_is_killed_when_it_is_in_the_manifest_is_finished(
    corpus, sites, monkeypatch, capfd
):
    with monkeypatch.context() as patched:
        patched.setattr(withdrawal, "changes_of_languages", None)
        with pytest.raises(TypeError):
            withdraw(corpus, sites)
    assert (corpus / WITHDRAWAL / CLAIM).exists()
    manifest = (corpus / MANIFEST).read_bytes()
    assert read_corpus(corpus)
    withdraw(corpus, sites)
    assert "No page matched." in capfd.readouterr().err
    assert (corpus / MANIFEST).read_bytes() == manifest
    assert not (corpus / WITHDRAWAL).exists()


@pytest.mark.parametrize("name", ["pages/sw/train-*", "rejected/en/*"])
def test_a_corpus_that_lacks_a_file_is_refused_unchanged(corpus, sites, name):
    (corpus / "growth").mkdir()
    lost = next(corpus.glob(name))
    content = lost.read_bytes()
    lost.unlink()
    before = files(corpus)
    for _ in range(2):
        with pytest.raises(ArtifactError, match=f"{corpus} should have .*/(sw|en)/.* is missing"):
            withdraw(corpus, sites)
    assert files(corpus) == before
    assert (corpus / "growth").exists()
    lost.write_bytes(content)
    withdraw(corpus, sites)
    assert not any(is_listed(row["url"]) for row in rows_in(corpus))


def test_what_each_entry_names_is_shown_before_and_after(corpus, tmp_path, capfd):
    path = tmp_path / "sites.txt"
    odd = "https://site2.sw.example/127.0.0.1\nnobody.example\nsite2.sw.example/page\n"
    path.write_text(odd + "site0.en.example\n")
    arguments = ["--corpus", str(corpus), "--sites", str(path), "--reason", "a request"]
    before = rows_in(corpus)
    for options in (["--dry-run"], []):
        assert rows_in(corpus) == before
        assert cli.run(["withdraw", *arguments, *options]) == 0
        printed = "".join(capfd.readouterr())
        assert "that name pages: site0.en.example (3), site2.sw.example/page (3)" in printed
        without = "name no page: 2, such as site2.sw.example/127.0.0.1, nobody.example"
        assert without in printed


def test_a_site_never_there_is_no_page(corpus, tmp_path, capfd):
    path, before = tmp_path / "sites.txt", files(corpus)
    path.write_text("https://site0.en.example/127.0.0.1\n")
    withdraw(corpus, str(path))
    assert files(corpus) == before
    assert "No page matched." in capfd.readouterr().err


def test_a_withdrawal_that_is_killed_after_it_changed_its_first_file_is_finished(
    corpus, sites, monkeypatch, tmp_path
):
    whole = write_corpus(tmp_path / "whole", {code: texts_of(code, 10) for code in ("en", "sw")})
    withdraw(whole, sites)
    before, publish = files(corpus), Workspace.publish

    @contextlib.contextmanager
    def killed(workspace, path):
        with publish(workspace, path) as unfinished:
            yield unfinished
        if path.endswith(".parquet"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Workspace, "publish", killed)
    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        withdraw(corpus, sites)
    monkeypatch.undo()
    assert len(set(files(corpus).items()) - set(before.items())) == 1
    withdraw(corpus, sites)
    assert rows_in(corpus) == rows_in(whole)
    found, expected = (json.loads((one / MANIFEST).read_text()) for one in (corpus, whole))
    assert found["languages"] == expected["languages"]
    assert found["withdrawals"][0]["hosts"] == expected["withdrawals"][0]["hosts"]


def test_lines_that_are_no_site_are_named(corpus, tmp_path, capfd):
    path = tmp_path / "sites.txt"
    path.write_text("site1.sw.example\nsomeone@site2.sw.example\n||ads.example^\n")
    withdraw(corpus, str(path))
    printed = " ".join(capfd.readouterr().err.split())
    assert "2 lines of" in printed
    assert "someone@site2.sw.example" in printed
    assert {row["url"].split("/")[2] for row in rows_in(corpus)} >= {"site2.sw.example"}


def test_again_there_is_nothing_to_remove(corpus, sites, capfd):
    withdraw(corpus, sites)
    manifest = (corpus / MANIFEST).read_bytes()
    capfd.readouterr()
    withdraw(corpus, sites)
    assert (corpus / MANIFEST).read_bytes() == manifest
    assert "No page matched." in capfd.readouterr().err


def test_a_language_that_loses_its_last_held_out_pages_is_named(corpus, tmp_path, capfd):
    """And the share of rejected pages in the card stays what cleaning made it."""
    share = rejected_share(json.loads((corpus / MANIFEST).read_text()), ["sw"])
    held_out = [row for row in rows_in(corpus) if row["split"] == "validation"]
    path = tmp_path / "sites.txt"
    path.write_text("".join(f"{row['url']}\n" for row in held_out if row["language"] == "sw"))
    withdraw(corpus, str(path))
    printed = " ".join(capfd.readouterr().err.split())
    assert "No page is held out any more in sw: a run on tokens" in printed
    body = json.loads((corpus / MANIFEST).read_text())
    assert body["languages"]["sw"]["held_out"] == 0 < body["languages"]["en"]["held_out"]
    assert rejected_share(body, ["sw"]) == share


def test_a_reason_is_needed(corpus, sites):
    with pytest.raises(ArtifactError, match="empty --reason"):
        withdraw(corpus, sites, " ")
