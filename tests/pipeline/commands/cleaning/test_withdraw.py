"""`mswitch withdraw`: listed sites leave a corpus, and nothing else changes."""

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpora import record_files, rows_in, texts_of, write_corpus

from data.files.json_files import write_json
from data.reading.page import BROKEN, BrokenRecord
from data.reading.records import address_of
from data.urls import host_of
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

CORPUS, LIST = Path("corpus"), Path("sites.txt")  # in the working directory
PAGE, DIGEST = "https://site0.en.example/page/1", address_of("Habari.")
SITES = f"site1.sw.example\n{PAGE}\nsite3.en.example\n{DIGEST}\nnobody.example\n"
DETAILS = [
    "https://site1.sw.example/x",
    f"{PAGE}: 'utf-8' codec can't decode byte 0xe9",
    "https://other.example/",
    "",
    "line 3: no text",
]


def is_listed(url: str) -> bool:
    sites = ("https://site1.sw.example/", "https://site3.en.example/")
    return url.startswith(sites) or url in (PAGE, DIGEST)


def withdraw(reason: str = "a request of its owner") -> None:
    Withdraw(corpus=str(CORPUS), sites=(str(LIST),), reason=reason).execute()


def manifest_in(home: Path = Path()) -> dict:
    return json.loads((home / CORPUS / MANIFEST).read_text())


def files(home: Path = Path()) -> dict[str, bytes]:
    """Returns the files of pages, by name."""
    corpus = home / CORPUS
    paths = corpus.glob("*/*/*.parquet")
    return {str(path.relative_to(corpus)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A corpus of two languages, one page without an address, broken records and a list."""
    home = tmp_path_factory.mktemp("made")
    corpus = home / CORPUS
    write_corpus(corpus, {code: texts_of(code, 10) for code in ("en", "sw")})
    path = corpus / "pages/sw/train-00000-of-00002.parquet"
    table = pq.read_table(path)
    urls = [DIGEST, *table["url"].to_pylist()[1:]]
    pq.write_table(table.set_column(table.schema.get_field_index("url"), "url", [urls]), path)
    broken = [BrokenRecord("a/b.warc", n, "no_text", one) for n, one in enumerate(DETAILS)]
    path = corpus / broken_records.BROKEN_NAME
    path.parent.mkdir()
    pq.write_table(pa.Table.from_batches([broken_records.broken_batch(broken)]), path)
    record_files(corpus)
    counted = {"no_text": {"count": len(DETAILS), "samples": []}}
    write_json(corpus / MANIFEST, manifest_in(home) | {"broken_records": counted})
    (home / LIST).write_text(SITES)
    return home


@contextmanager
def inside(source: Path, here: Path):
    """Changes to a copy of a folder within the block."""
    shutil.copytree(source, here, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        yield


@pytest.fixture
def copied(made, tmp_path):
    """A copy of it in the working directory."""
    with inside(made, tmp_path):
        yield


@pytest.fixture(scope="module")
def withdrawn(made, tmp_path_factory) -> Path:
    """A copy after the withdrawal, in which a killed cleaning and an addition had left text."""
    home = tmp_path_factory.mktemp("withdrawn")
    with inside(made, home):
        for folder in ("work/0123/read", "growth", "delta"):
            (CORPUS / folder).mkdir(parents=True)
            (CORPUS / folder / "00000.arrow").write_bytes(b"text")
        (job,) = Withdraw(corpus=str(CORPUS), sites=(str(LIST),), reason="a request").jobs()
        assert job.intent().writes.endswith("removes growth/, delta/, work/ if a page is listed")
        withdraw()
    return home


def test_listed_pages_are_gone_with_all_their_text_and_other_files_are_the_same(made, withdrawn):
    for folder, gone in (("pages", 6), ("rejected", 2)):
        before, after = (rows_in(home / CORPUS, folder) for home in (made, withdrawn))
        assert after == [row for row in before if not is_listed(row["url"])]
        assert len(before) - len(after) == gone
    was, now = files(made), files(withdrawn)
    changed = {name for name in was if was[name] != now[name]}
    assert {name.rpartition("-of-")[0] for name in changed} == {
        *("pages/en/train-00000", "pages/sw/train-00000", "pages/sw/train-00001"),
        *("pages/en/validation-00000", "rejected/en/rejected-00000"),
    }
    assert not (withdrawn / CORPUS / WITHDRAWAL).exists()
    assert not list(withdrawn.rglob("00000.arrow"))
    broken = pq.read_table(withdrawn / CORPUS / broken_records.BROKEN_NAME)
    assert broken["detail"].to_pylist() == ["", "", *DETAILS[2:]]
    assert broken["offset"].to_pylist() == [0, 1, 2, 3, 4]
    assert broken.schema == BROKEN


def test_the_manifest_counts_what_is_there_and_what_went(made, withdrawn):
    lost, refused = (
        [row for row in rows_in(made / CORPUS, folder) if is_listed(row["url"])]
        for folder in ("pages", "rejected")
    )
    rows = rows_in(withdrawn / CORPUS)
    for code, entry in read_corpus(withdrawn / CORPUS).languages.items():
        here = [row for row in rows if row["language"] == code]
        assert entry.kept == len(here) == sum(entry.confidence.values())
        assert entry.held_out == sum(row["split"] == "validation" for row in here)
        assert entry.characters == sum(len(row["text"]) for row in here)
        assert entry.rejected == ({} if code == "en" else {"too_short": 2})
    (told,) = manifest_in(withdrawn)["withdrawals"]
    assert told["reason"] == "a request of its owner"
    assert told["hosts"] == Counter(host_of(row["url"]) for row in lost + refused)
    counted = told["languages"]
    for name, some in (("kept", lost), ("rejected", refused)):
        numbers = Counter(row["language"] for row in some)
        assert {code: one[name] for code, one in counted.items() if one[name]} == numbers
    lines = sum(row["text"].count("\n") + 1 for row in lost)
    assert sum(one["lines_gone"] for one in counted.values()) == lines
    copies = sum(row["cluster_size"] - 1 for row in lost)
    assert sum(one["copies_gone"] for one in counted.values()) == copies
    assert cli.run(["inspect", str(withdrawn / CORPUS)]) == 0


@pytest.mark.parametrize("not_asked", [{}, {"de": 3}])
def test_a_list_of_nothing_changes_no_page_and_costs_no_later_addition(copied, not_asked, capfd):
    (CORPUS / "growth").mkdir()
    manifest, before = manifest_in(), files()
    manifest["not_asked"] = {"files": {}, "pages": not_asked}  # their text lies in growth/ alone
    (CORPUS / MANIFEST).write_text(json.dumps(manifest))
    LIST.write_text("exmaple.org\nhttps://site0.en.example/127.0.0.1\n")
    (job,) = Withdraw(corpus=str(CORPUS), sites=(str(LIST),), reason="a request").jobs()
    assert job.intent().writes.endswith("if a page is listed") == (not not_asked)
    withdraw()
    assert (CORPUS / "growth").exists() == (not not_asked)
    assert files() == before
    assert "No page matched." in capfd.readouterr().err


def in_its_fourth_file(patch: pytest.MonkeyPatch) -> None:
    work, done = RemoveSites.__call__, []

    def killed(step, number):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(number)
        return work(step, number)

    patch.setattr(RemoveSites, "__call__", killed)


def after_it_changed_its_first_file(patch: pytest.MonkeyPatch) -> None:
    publish = Workspace.publish

    @contextmanager
    def killed(workspace, path):
        with publish(workspace, path) as unfinished:
            yield unfinished
        if path.endswith(".parquet"):
            raise KeyboardInterrupt

    patch.setattr(Workspace, "publish", killed)


def when_it_is_in_the_manifest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(withdrawal, "changes_of_languages", None)


def kill(moment) -> None:
    """Withdraws until it is killed at a moment."""
    with pytest.MonkeyPatch.context() as patch:
        moment(patch)
        with pytest.raises((RuntimeError, TypeError)):
            withdraw()


@pytest.mark.parametrize(
    ("moment", "edited"),
    [
        (in_its_fourth_file, "site2.en.example\nsite0.sw.example\n"),
        (in_its_fourth_file, "com\n"),
        (after_it_changed_its_first_file, None),
        (when_it_is_in_the_manifest, SITES),
    ],
)
def test_a_killed_withdrawal_ends_as_it_began_and_counts_each_page_once(
    copied, withdrawn, moment, edited, capfd
):
    """Whatever has become of its list."""
    before = files()
    kill(moment)
    assert (CORPUS / WITHDRAWAL / CLAIM).exists()
    assert files() != before
    LIST.unlink()
    if edited is not None:
        LIST.write_text(edited)
    withdraw()
    said = "No page matched." if edited == SITES else "run the command again if they have changed"
    assert said in capfd.readouterr().err
    assert files() == files(withdrawn)
    found, expected = manifest_in(), manifest_in(withdrawn)
    for manifest in (found, expected):
        del manifest["withdrawals"][0]["manifest"]
        del manifest["withdrawals"][0]["key"]
    assert found == expected
    assert not (CORPUS / WITHDRAWAL).exists()


def test_commands_that_read_a_corpus_refuse_an_unfinished_withdrawal(copied):
    kill(in_its_fourth_file)
    place = str(CORPUS)
    with pytest.raises(ArtifactError, match=r"unfinished withdrawal .*'a request of its owner'"):
        withdraw("another reason")
    for read in (
        lambda: corpus_digests([place]),  # of vocabulary and tokenize
        lambda: [*Score(corpus=place, out="out").jobs()],
        lambda: [*Select(corpus=place, scores="out", out="out").jobs()],
        lambda: [*Clean(onto=place, input=("x.wet",), out="out").jobs()],
    ):
        with pytest.raises(ArtifactError, match="holds an unfinished withdrawal"):
            read()


def test_what_each_entry_names_is_shown_before_and_after(copied, capfd):
    """And the share of rejected pages in the card stays what cleaning made it."""
    LIST.write_text(
        "https://site2.sw.example/127.0.0.1\nnobody.example\nsite2.sw.example/page\n"
        "site0.en.example\nsomeone@site0.sw.example\n||ads.example^\nsite3.sw.example/page/9\n"
    )
    before, share = rows_in(CORPUS), rejected_share(manifest_in(), ["sw"])
    command = ["withdraw", f"--corpus={CORPUS}", f"--sites={LIST}", "--reason=a request"]
    for options in (["--dry-run"], []):
        assert rows_in(CORPUS) == before
        assert cli.run([*command, *options]) == 0
        printed = " ".join("".join(capfd.readouterr()).split())
        assert "that name pages: site0.en.example (3), site2.sw.example/page (3)" in printed
        without = "name no page: 2, such as site2.sw.example/127.0.0.1, nobody.example"
        assert without in printed
    assert "2 lines of" in printed
    assert "someone@site0.sw.example" in printed
    assert "No page is held out any more in sw: a run on tokens" in printed
    after = manifest_in()
    assert after["languages"]["sw"]["held_out"] == 0 < after["languages"]["en"]["held_out"]
    assert rejected_share(after, ["sw"]) == share


def test_a_reason_is_needed(copied):
    with pytest.raises(ArtifactError, match="empty --reason"):
        withdraw(" ")
