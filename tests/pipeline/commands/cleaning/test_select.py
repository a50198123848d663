"""`mswitch select`: late rules keep or reject each page, and all of it is counted."""

import itertools
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpora import rows_in, texts_of, write_corpus

from data.curation.signals import signals
from data.curation.thresholds import Thresholds
from data.errors import DataError
from data.languages import NO_LANGUAGE
from pipeline import cli
from pipeline.artifacts import MANIFEST
from pipeline.beam.workspace import Wave, Waves, Workspace
from pipeline.commands.score import Score
from pipeline.commands.select import Select
from pipeline.commands.withdraw import Withdraw
from pipeline.corpus.pages import corpus_files, has_unique_lines, read_corpus, training_pages
from pipeline.curation import robots as robots_txt
from pipeline.curation.late_rules import LateRules, reasons
from pipeline.curation.robots import AskRobots, ListHosts
from pipeline.curation.select import without_refused_text

MASK = ("a@firm.co.ke", "email@example.com")
ROBOTS = "User-agent: *\nDisallow: /page/4\n"
NO_RULES = LateRules(
    blocked=(),
    opted_out=(),
    languages=False,
    least_share=0.0,
    benchmarks=False,
    quality=None,
    masked=(),
    unique_lines=True,
)


def robots_of(*hosts: str, text: str = ROBOTS) -> str:
    """Returns lines of a file with robots.txt."""
    return "".join(json.dumps({"host": host, "robots": text}) + "\n" for host in hosts)


@pytest.fixture(scope="module")
def asked(corpus, scores, tmp_path_factory) -> Select:
    """Arguments with a list, robots.txt, languages and a mask."""
    here = tmp_path_factory.mktemp("selected")
    (here / "blocked.txt").write_text("site2.en.example\nhttps://site0.sw.example/page/0\n")
    (here / "robots.jsonl").write_text(robots_of("site1.en.example", "site1.sw.example"))
    return Select(
        corpus=str(corpus),
        scores=str(scores),
        out=str(here / "out"),
        quality="none",
        blocked=(str(here / "blocked.txt"),),
        robots=(str(here / "robots.jsonl"),),
        mask=("email",),
    )


@pytest.fixture(scope="module")
def selected(asked) -> Path:
    """The selected corpus."""
    asked.execute()
    return Path(asked.out)


def expected_reason(row: dict) -> str | None:
    host, page = row["url"].split("/")[2], row["url"].rsplit("/", 1)[1]
    if host == "site2.en.example":
        return "blocked_domain"
    if row["url"] == "https://site0.sw.example/page/0":
        return "blocked_url"
    if page == "4" and host in ("site1.en.example", "site1.sw.example"):
        return "robots_txt"
    return "other_language" if (row["language"], page) == ("sw", "2") else None


def masked_texts(corpus: Path) -> dict[str, str]:
    return {row["url"]: row["text"].replace(*MASK) for row in rows_in(corpus)}


def reasons_in(corpus: Path) -> dict[str, str]:
    return {row["url"]: row["reason"] for row in rows_in(corpus, "rejected")}


def test_each_page_is_kept_but_for_its_mask_or_has_its_reason(corpus, selected):
    why = {row["url"]: expected_reason(row) for row in rows_in(corpus)}
    kept, gone = rows_in(selected), rows_in(selected, "rejected")
    assert [row["url"] for row in kept] == [url for url, reason in why.items() if reason is None]
    assert reasons_in(selected) == {url: reason for url, reason in why.items() if reason}
    texts = masked_texts(corpus)
    assert all(row["text"] == texts[row["url"]] for row in kept if row["url"][-7:] != "/page/1")
    assert all(
        row["text"] == ("" if row["reason"] == "robots_txt" else texts[row["url"]]) for row in gone
    )
    (changed,) = [row for row in kept if row not in rows_in(corpus)]
    assert changed["url"] == "https://site0.en.example/page/1"
    assert "someone@firm" not in changed["text"]
    for path in corpus.glob("pages/*/*.parquet"):
        there = pq.read_schema(selected / path.relative_to(corpus))
        assert there.equals(pq.read_schema(path))


def test_the_manifest_counts_the_rows(corpus, selected):
    texts, manifest = masked_texts(corpus), read_corpus(selected)
    kept, gone = rows_in(selected), rows_in(selected, "rejected")
    for code, entry in manifest.languages.items():
        here = [row for row in kept if row["language"] == code]
        away = [row for row in gone if row["language"] == code]
        assert entry.kept == len(here)
        assert entry.held_out == sum(row["split"] == "validation" for row in here)
        assert entry.characters == sum(len(row["text"]) for row in here)
        assert entry.rejected == Counter(row["reason"] for row in away)
        sizes, weights, lines = Counter(), Counter(), 0
        for row in away:
            text = texts[row["url"]]  # that of a page whose owner refuses is not kept
            sizes[row["reason"]] += len(text)
            weights[row["reason"]] += len(text.encode())
            lines += text.count("\n") + 1
        assert entry.rejected_characters == sizes
        assert entry.rejected_bytes == weights
        assert entry.lines_gone == lines
        assert entry.masked == ({"email": 1} if code == "en" else {})
    assert cli.run(["inspect", str(selected)]) == 0
    trained = Counter(row["language"] for row in kept if row["split"] == "train")
    assert training_pages([str(selected)]) == trained
    assert has_unique_lines(read_corpus(corpus))
    assert not has_unique_lines(manifest)  # lines may be equal that differed in an address


def test_a_withdrawal_and_a_second_selection_keep_licence_and_history(selected, tmp_path):
    corpus, scores, out = (tmp_path / name for name in ("corpus", "scores", "out"))
    shutil.copytree(selected, corpus)
    before = read_corpus(corpus).languages
    assert before["en"].rejected == {"blocked_domain": 3, "robots_txt": 1}
    manifest = json.loads((corpus / MANIFEST).read_text())
    (corpus / MANIFEST).write_text(json.dumps(manifest | {"license": "odc-by"}))
    (tmp_path / "sites.txt").write_text("site2.en.example\nsite1.en.example/page/4\n")
    Withdraw(corpus=str(corpus), sites=(str(tmp_path / "sites.txt"),), reason="asked").execute()
    after = read_corpus(corpus).languages
    assert after["en"].rejected == after["en"].rejected_characters == after["en"].rejected_bytes
    assert after["en"].rejected == {}
    assert after["sw"] == before["sw"]
    (tmp_path / "xnli.jsonl").write_text(json.dumps({"text": " ".join(map(str, range(20)))}))
    (tmp_path / "blocked.txt").write_text("site2.sw.example\n")
    benchmarks = (str(tmp_path / "xnli.jsonl"),)
    Score(corpus=str(corpus), out=str(scores), benchmarks=benchmarks).execute()
    Select(
        corpus=str(corpus),
        scores=str(scores),
        out=str(out),
        quality="none",
        blocked=(str(tmp_path / "blocked.txt"),),
    ).execute()
    found = json.loads((out / MANIFEST).read_text())
    assert found["license"] == "odc-by"
    assert len(found["withdrawals"]) == 1
    assert [one["stage"] for one in found["history"]] == ["clean", "select"]
    assert found["history"][1]["languages"]["en"]["masked"] == {"email": 1}
    assert (found["rules"]["name"], len(found["rules"]["late"])) == ("mc4", 2)
    assert found["languages"]["sw"]["rejected"] == {"blocked_domain": 3}
    assert found["languages"]["sw"]["lines_gone"] == 0  # as masked lines are not unique
    card = (out / "README.md").read_text()
    assert "license: odc-by" in card
    assert "- benchmarks: xnli.jsonl" in card


def test_neither_waves_nor_lines_that_cannot_be_read_change_the_pages(
    asked, selected, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(robots_txt, "PAGES_PER_PARTITION", 5)
    monkeypatch.setattr(robots_txt, "PARTITIONS_HERE", 2)  # each wave reads the files
    host = robots_of("site0.en.example")
    (tmp_path / "odd.jsonl").write_text(f'{host}{{"host": "site1.en.example"}}\nno JSON\n')
    (tmp_path / "more.jsonl").write_text(f"{host}no JSON\n")
    opted_out = tmp_path / "opted_out.txt"
    opted_out.write_text("site2.en.example/page/6\nnobody.example\n")
    robots = (*asked.robots, f"{tmp_path}/*.jsonl")
    here = replace(asked, robots=robots, opted_out=(str(opted_out),), out=str(tmp_path / "out"))
    (intent,) = [job.intent() for job in here.jobs()]
    blocked = " ".join(asked.blocked)
    assert list(intent.finds) == [
        f"entries of {blocked} that name pages: site2.en.example (3), site0.sw.example/page/0 (1)",
        f"entries of {opted_out} that name pages: site2.en.example/page/6 (1)",
        f"entries of {opted_out} that name no page: 1, such as nobody.example",
    ]
    here.execute()
    assert rows_in(tmp_path / "out") == rows_in(selected)
    refused = {"https://site2.en.example/page/6": "opted_out"}
    assert reasons_in(tmp_path / "out") == reasons_in(selected) | refused
    printed = " ".join(capfd.readouterr().err.split())
    assert "3 lines or records" in printed
    assert "(2 not_json, 1 no_robots_txt)" in printed
    assert "No benchmark was scored" in printed
    assert all(f"select: {sentence} " in printed for sentence in intent.finds)


def test_the_same_command_does_nothing_and_whatever_changes_the_outcome_is_another(
    asked, selected, tmp_path
):
    """Also lists of one name and size; those of UT1 are all called `domains`."""
    first, second = ((str(tmp_path / name / "domains"),) for name in ("requests", "adult"))
    for (place,), line in ((first, "site1.en.example"), (second, "site2.en.example")):
        Path(place).parent.mkdir()
        Path(place).write_text(line)
    for name, text in (("a", ROBOTS), ("b", ROBOTS), ("c", ROBOTS.replace("4", "5"))):
        (tmp_path / f"{name}.jsonl").write_text(robots_of("site1.en.example", text=text))

    def robots(names: str) -> dict[str, tuple[str, ...]]:
        return {"robots": tuple(f"{tmp_path}/{name}.jsonl" for name in names)}

    def identity(fields: dict) -> object:
        (job,) = replace(asked, **fields).jobs()
        return job.intent().claimed_for

    changes = [
        {},
        {"quality": "corpus"},
        {"languages": False},
        {"least_language_share": 0.6},
        {"benchmarks": False},
        {"blocked": first},
        {"blocked": second},
        {"opted_out": first},
        {"blocked": first, "opted_out": second},
        {"blocked": second, "opted_out": first},
        {"robot": "OtherBot"},
        {"robots": ()},
        robots("a"),
        robots("c"),
        {"mask": ()},
        {"mask": ("email", "ip")},
    ]
    for one, other in itertools.combinations(map(identity, changes), 2):
        assert one != other
    manifest = (selected / MANIFEST).stat().st_mtime_ns
    asked.execute()
    assert (selected / MANIFEST).stat().st_mtime_ns == manifest
    with pytest.raises(ValueError, match="other settings"):
        replace(asked, quality="corpus").execute()
    assert identity(robots("abc")) == identity(robots("*"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"least_language_share": float("nan")}, "0 or more and at most 1"),
        ({"languages": False, "least_language_share": 0.9}, "leave it o"),
        ({"robots": (), "robot": "MyBot"}, "leave it o"),
        ({"robot": "my bot"}, "such as CCBot"),
        ({"robot": "*"}, "such as CCBot"),
        ({"robots": ("no/*.jsonl",)}, r"\*\.jsonl with robots\.txt does not exist"),
        ({"robots": ("rules.txt",)}, "[Rr]obots"),
        ({"corpus": "other"}, "those of another corpus"),
    ],
)
def test_what_cannot_be_selected_is_refused_before_anything_is_written(
    asked, fields, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.txt").write_text(ROBOTS)
    write_corpus(tmp_path / "other", {"en": texts_of("en", 3)})
    with pytest.raises(ValueError, match=said):
        replace(asked, **fields, out=str(tmp_path / "out")).execute()
    assert not (tmp_path / "out").exists()


LINES = [" ".join(f"neno{number}" for number in range(at, at + 7)) for at in range(0, 49, 7)]
(SHORT,) = signals([".\n".join(LINES) + "."], "sw").to_pylist()  # of a page of 49 words


def reason_of(url: str, rules: LateRules, disallowed: bool = False, **scores) -> str | None:
    """Returns the reason of one page in Swahili."""
    row = {"combined_language": "sw", "language_share": 1.0, "benchmarks": []} | scores
    (why,) = reasons([url], pa.Table.from_pylist([row]), "sw", rules, [disallowed])
    return why


@pytest.mark.parametrize(
    ("scores_of_page", "rules", "reason"),
    [
        ({}, {"languages": True}, None),
        ({"combined_language": "en"}, {"languages": True}, "other_language"),
        ({"combined_language": NO_LANGUAGE}, {"languages": True}, "not_a_language"),
        ({"combined_language": "en"}, {}, None),
        ({"language_share": 0.4}, {"languages": True, "least_share": 0.5}, "mixed_languages"),
        ({"language_share": 0.7}, {"languages": True, "least_share": 0.7}, None),
        ({"language_share": None}, {"languages": True, "least_share": 0.5}, None),
        ({"benchmarks": ["xnli"]}, {"benchmarks": True}, "benchmark_text"),
        ({"benchmarks": ["xnli"]}, {}, None),
        (SHORT, {"quality": {"sw": Thresholds(min_doc_words=50)}}, "gopher_short_doc"),
        (SHORT, {"quality": {"sw": Thresholds(min_doc_words=49)}}, None),
        (SHORT, {"quality": {"yo": Thresholds(min_doc_words=50)}}, None),
        (SHORT, {}, None),
    ],
)
def test_each_rule_has_its_reason(scores_of_page, rules, reason):
    assert reason_of("https://a.example/", replace(NO_RULES, **rules), **scores_of_page) == reason


def test_the_first_rule_counts_and_what_an_owner_refuses_is_not_kept(tmp_path):
    (tmp_path / "list.txt").write_text("a.example\n")
    listed, a, b = (str(tmp_path / "list.txt"),), "https://a.example/", "https://b.example/"
    rules = replace(NO_RULES, blocked=listed, benchmarks=True)
    for url, disallowed, why in (
        (a, True, "robots_txt"),
        (a, False, "blocked_domain"),
        (b, True, "robots_txt"),
        (b, False, "benchmark_text"),
    ):
        assert reason_of(url, rules, disallowed, benchmarks=["xnli"]) == why
    owner = reason_of(a, replace(rules, opted_out=listed), disallowed=True)
    pages = pa.table({"text": ["a", "b", "c"], "reason": [owner, "robots_txt", "blocked_domain"]})
    assert owner == "opted_out"
    assert without_refused_text(pages)["text"].to_pylist() == ["", "", "c"]


def test_only_robots_txt_of_hosts_with_pages_travel(corpus, tmp_path):
    """A crawl has those of millions of others; a file without any is refused."""
    contents = {
        "known": robots_of("site1.en.example"),
        "others": robots_of(*(f"other{number}.example" for number in range(200))),
        "odd": "no JSON\n",
    }
    paths = [tmp_path / f"{name}.jsonl" for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_text(content)
    files, workspace = corpus_files(str(corpus)), Workspace(str(tmp_path), "key")
    workspace.write_shards(files)
    for number in range(len(files)):
        ListHosts(workspace, str(corpus))(number)
    exchange = AskRobots(workspace, Waves(1, 1), str(corpus), tuple(map(str, paths)), "CCBot")
    sent = [[*exchange.send(len(files) + at, Wave(0, 1))] for at in range(2)]
    assert list(map(len, sent)) == [1, 0]
    with pytest.raises(DataError, match=r"odd\.jsonl should hold robots\.txt files"):
        list(exchange.send(len(files) + 2, Wave(0, 1)))
