"""`mswitch select`: late rules keep or reject each page, and all of it is counted."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpora import rows_in, texts_of, write_corpus

from data.curation.signals import signals
from data.curation.thresholds import Thresholds
from data.errors import DataError
from data.languages import NO_LANGUAGE
from model.config import ConfigurationError
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
from pipeline.errors import ArtifactError

PAGES = 10
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


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of two languages; one page in Swahili is English, two have an address."""
    texts = {code: texts_of(code, PAGES) for code in ("en", "sw")}
    texts["sw"][2] = texts["en"][2].replace("number", "page")
    texts["en"][1] += "\nWrite to someone@firm.co.ke or call nobody."
    texts["en"][6] += "\nWrite to a@firm.co.ke."  # of a blocked site, and shorter than its mask
    return write_corpus(tmp_path_factory.mktemp("select") / "corpus", texts)


@pytest.fixture(scope="module")
def scores(corpus):
    """Its scores."""
    out = corpus.with_name("scores")
    Score(corpus=str(corpus), out=str(out)).execute()
    return out


@pytest.fixture(scope="module")
def asked(corpus, scores):
    """Arguments with a list, robots.txt, languages and a mask."""
    blocked, robots = corpus.with_name("blocked.txt"), corpus.with_name("robots.jsonl")
    blocked.write_text("site2.en.example\nhttps://site0.sw.example/page/0\n", encoding="utf-8")
    lines = [{"host": f"site1.{code}.example", "robots": ROBOTS} for code in ("en", "sw")]
    robots.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Select(
        corpus=str(corpus),
        scores=str(scores),
        out=str(corpus.with_name("selected")),
        quality="none",
        blocked=(str(blocked),),
        robots=(str(robots),),
        mask=("email",),
    )


@pytest.fixture(scope="module")
def selected(asked, corpus):
    """The selected corpus."""
    asked.execute()
    return corpus.with_name("selected")


def expected_reason(row):
    host, page = row["url"].split("/")[2], row["url"].rsplit("/", 1)[1]
    if host == "site2.en.example":
        return "blocked_domain"
    if row["url"] == "https://site0.sw.example/page/0":
        return "blocked_url"
    if host.startswith("site1.") and page == "4":
        return "robots_txt"
    return "other_language" if (row["language"], page) == ("sw", "2") else None


def test_each_page_is_kept_or_has_its_reason(corpus, selected):
    before = rows_in(corpus)
    kept, gone = rows_in(selected), rows_in(selected, "rejected")
    assert [row["url"] for row in kept] == [
        row["url"] for row in before if expected_reason(row) is None
    ]
    assert {row["url"]: row["reason"] for row in gone} == {
        row["url"]: reason for row in before if (reason := expected_reason(row))
    }
    texts = {row["url"]: row["text"].replace(*MASK) for row in before}
    assert all(
        row["text"] == ("" if row["reason"] == "robots_txt" else texts[row["url"]]) for row in gone
    )


def test_only_masked_text_differs(corpus, selected):
    texts = {row["url"]: row["text"] for row in rows_in(corpus)}
    changed = [row for row in rows_in(selected) if row["text"] != texts[row["url"]]]
    assert [row["url"] for row in changed] == ["https://site0.en.example/page/1"]
    assert "someone@firm" not in changed[0]["text"]
    languages = read_corpus(selected).languages
    assert {code: entry.masked for code, entry in languages.items()} == {
        "en": {"email": 1},
        "sw": {},
    }


def test_of_masked_text_lines_may_be_equal(corpus, selected):
    assert has_unique_lines(read_corpus(corpus))
    assert not has_unique_lines(read_corpus(selected))


def test_the_manifest_counts_the_rows(corpus, selected):
    texts = {row["url"]: row["text"].replace(*MASK) for row in rows_in(corpus)}
    kept, gone = rows_in(selected), rows_in(selected, "rejected")
    for code, entry in read_corpus(selected).languages.items():
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
    assert cli.run(["inspect", str(selected)]) == 0


def test_of_a_selected_corpus_sites_can_be_withdrawn(selected, tmp_path):
    corpus, sites = tmp_path / "corpus", tmp_path / "sites.txt"
    shutil.copytree(selected, corpus)
    sites.write_text("site1.en.example\nsite2.en.example\n", encoding="utf-8")
    assert read_corpus(corpus).languages["en"].rejected == {"blocked_domain": 3, "robots_txt": 1}
    Withdraw(corpus=str(corpus), sites=(str(sites),), reason="a request of its owner").execute()
    entry = read_corpus(corpus).languages["en"]
    assert entry.rejected == entry.rejected_characters == entry.rejected_bytes == {}
    assert read_corpus(corpus).languages["sw"] == read_corpus(selected).languages["sw"]


def test_later_stages_read_it_as_a_corpus(selected):
    counts = Counter(row["language"] for row in rows_in(selected) if row["split"] == "train")
    assert training_pages([str(selected)]) == counts


def test_lines_of_robots_that_cannot_be_read_are_counted(asked, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(robots_txt, "PAGES_PER_PARTITION", 5)
    monkeypatch.setattr(robots_txt, "PARTITIONS_HERE", 1)  # each wave reads the files
    odd, more = tmp_path / "odd.jsonl", tmp_path / "more.jsonl"
    host = json.dumps({"host": "site0.en.example", "robots": ROBOTS})
    odd.write_text(f'{host}\n{{"host": "site1.en.example"}}\nno JSON\n')
    more.write_text(f"{host}\nno JSON\n")
    robots = (str(odd), str(more))
    replace(asked, robots=robots, out=str(tmp_path / "out")).execute()
    printed = " ".join(capfd.readouterr().err.split())
    assert "3 lines or records" in printed
    assert "(2 not_json, 1 no_robots_txt)" in printed


def intent_of(asked, *robots):
    (job,) = replace(asked, robots=tuple(map(str, robots))).jobs()
    return job.intent()


def test_a_glob_names_its_files_with_robots_txt(asked, tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"host": name, "robots": ROBOTS}))
    named = tuple(str(tmp_path / f"{name}.jsonl") for name in ("a", "b"))
    assert intent_of(asked, tmp_path / "*.jsonl") == intent_of(asked, *named)
    with pytest.raises(DataError, match=r"\*\.jsonl with robots\.txt does not exist"):
        intent_of(asked, tmp_path / "no/*.jsonl")


def test_a_file_with_no_robots_txt_that_can_be_read_is_refused(asked, tmp_path):
    odd = tmp_path / "odd.jsonl"
    odd.write_text("no JSON\n")
    with pytest.raises(DataError, match=r"odd\.jsonl should hold robots\.txt files"):
        replace(asked, robots=(str(odd),), out=str(tmp_path / "out")).execute()


def test_partitions_and_waves_do_not_change_the_outcome(asked, selected, tmp_path, monkeypatch):
    monkeypatch.setattr(robots_txt, "PAGES_PER_PARTITION", 5)
    monkeypatch.setattr(robots_txt, "PARTITIONS_HERE", 2)
    replace(asked, out=str(tmp_path / "waves")).execute()
    assert rows_in(tmp_path / "waves") == rows_in(selected)
    assert rows_in(tmp_path / "waves", "rejected") == rows_in(selected, "rejected")


def test_a_second_selection_keeps_licence_and_history(selected, tmp_path, capfd):
    corpus, scores, out = (tmp_path / name for name in ("corpus", "scores", "out"))
    shutil.copytree(selected, corpus)
    manifest = json.loads((corpus / MANIFEST).read_text())
    told = {"license": "odc-by", "withdrawals": [{"key": "0", "hosts": {}, "languages": {}}]}
    (corpus / MANIFEST).write_text(json.dumps(manifest | told))
    Score(corpus=str(corpus), out=str(scores)).execute()
    Select(corpus=str(corpus), scores=str(scores), out=str(out), quality="none").execute()
    found = json.loads((out / MANIFEST).read_text())
    assert found["license"] == "odc-by"
    assert found["withdrawals"] == told["withdrawals"]
    assert [one["stage"] for one in found["history"]] == ["clean", "select"]
    assert found["history"][1]["languages"]["en"]["masked"] == {"email": 1}
    assert len(found["rules"]["late"]) == 2
    assert found["rules"]["name"] == "mc4"
    card = (out / "README.md").read_text()
    assert "license: odc-by" in card
    assert "benchmarks" not in card  # the scores are of none, which is said
    assert "No benchmark was scored" in " ".join(capfd.readouterr().err.split())
    rows = [{"text": " ".join(map(str, range(20)))}]
    (tmp_path / "xnli.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"out": str(tmp_path / "named"), "quality": "none"}
    Score(
        corpus=str(corpus), out=f"{scores}-2", benchmarks=(str(tmp_path / "xnli.jsonl"),)
    ).execute()
    Select(corpus=str(corpus), scores=f"{scores}-2", **named).execute()
    assert "- benchmarks: xnli.jsonl" in (tmp_path / "named/README.md").read_text()
    assert "No benchmark was scored" not in capfd.readouterr().err


@pytest.mark.parametrize("share", [-0.1, 7.0, float("nan")])
def test_a_share_is_between_0_and_1(asked, share, tmp_path):
    with pytest.raises(ConfigurationError, match="0 or more and at most 1"):
        replace(asked, least_language_share=share, out=str(tmp_path / "out")).execute()


@pytest.mark.parametrize(
    "more", [{"languages": False, "least_language_share": 0.9}, {"robots": (), "robot": "MyBot"}]
)
def test_options_that_would_do_nothing_are_refused(asked, more, tmp_path):
    with pytest.raises(ArtifactError, match="leave it o"):
        replace(asked, **more, out=str(tmp_path / "out")).execute()


@pytest.mark.parametrize("robot", ["Mozilla/5.0 (compatible; CCBot/2.0)", "my bot", "*"])
def test_a_robot_is_named_by_its_product_token(asked, robot, tmp_path):
    with pytest.raises(ArtifactError, match="such as CCBot"):
        replace(asked, robot=robot, out=str(tmp_path / "out")).execute()


def test_where_cleaning_compares_no_lines_none_are_counted(corpus, scores, tmp_path):
    other = tmp_path / "corpus"
    shutil.copytree(corpus, other)
    manifest = json.loads((other / MANIFEST).read_text())
    manifest["rules"]["name"] = "none"
    (other / MANIFEST).write_text(json.dumps(manifest))
    Score(corpus=str(other), out=str(tmp_path / "scores")).execute()
    asked = Select(
        corpus=str(other),
        scores=str(tmp_path / "scores"),
        out=str(tmp_path / "out"),
        quality="none",
    )
    asked.execute()
    entry = read_corpus(tmp_path / "out").languages["sw"]
    assert entry.rejected
    assert entry.lines_gone == 0


def test_a_file_that_holds_no_robots_txt_is_refused_before_anything_is_written(asked, tmp_path):
    odd = tmp_path / "rules.txt"
    odd.write_text(ROBOTS)
    with pytest.raises(DataError, match=r"robots|Robots"):
        replace(asked, robots=(str(odd),), out=str(tmp_path / "out")).execute()
    assert not (tmp_path / "out").exists()


def test_the_same_command_again_does_nothing(asked, selected):
    manifest = (selected / MANIFEST).read_bytes()
    asked.execute()
    assert (selected / MANIFEST).read_bytes() == manifest
    with pytest.raises(ArtifactError, match="other settings"):
        replace(asked, quality="corpus").execute()


def test_lists_of_another_content_and_the_same_size_are_other_inputs(asked, tmp_path):
    robots, out = tmp_path / "site1.en.example/robots.txt", str(tmp_path / "out")
    robots.parent.mkdir()
    robots.write_text(ROBOTS)
    here = replace(asked, robots=(str(robots),), out=out)
    here.execute()
    robots.write_text(ROBOTS.replace("4", "5"))
    with pytest.raises(ArtifactError, match=r"from other inputs \(robots: another"):
        here.execute()


def test_what_each_entry_of_a_list_names_is_shown(asked, tmp_path, capfd):
    opted_out = tmp_path / "opted_out.txt"
    opted_out.write_text("site2.en.example/page/6\nnobody.example\n")
    here = replace(asked, opted_out=(str(opted_out),), out=str(tmp_path / "out"))
    (intent,) = [job.intent() for job in here.jobs()]
    here.execute()
    printed = capfd.readouterr().err
    blocked = " ".join(asked.blocked)
    assert list(intent.finds) == [
        f"entries of {blocked} that name pages: site2.en.example (3), site0.sw.example/page/0 (1)",
        f"entries of {opted_out} that name pages: site2.en.example/page/6 (1)",
        f"entries of {opted_out} that name no page: 1, such as nobody.example",
    ]
    assert all(f"select: {sentence}\n" in printed for sentence in intent.finds)


def test_two_lists_of_one_name_that_change_places_are_another_command(asked, tmp_path):
    """Lists of UT1 are all called `domains`. Of opted-out pages the text does not stay."""
    places = [tmp_path / folder / "domains" for folder in ("requests", "adult")]
    for place, line in zip(places, ("site1.en.example", "site2.en.example"), strict=True):
        place.parent.mkdir()
        place.write_text(line)
    first, second = ((str(place),) for place in places)
    here = replace(asked, blocked=first, opted_out=second, out=str(tmp_path / "out"))
    here.execute()
    with pytest.raises(ArtifactError, match="from other inputs"):
        replace(here, blocked=second, opted_out=first).execute()


def test_scores_of_another_corpus_are_refused(asked, tmp_path):
    other = write_corpus(tmp_path / "other", {"en": texts_of("en", 3)})
    with pytest.raises(ArtifactError, match="those of another corpus"):
        replace(asked, corpus=str(other), out=str(tmp_path / "out")).execute()


def test_a_corpus_that_lacks_a_file_is_refused_by_name(asked, tmp_path):
    corpus, scores = (tmp_path / name for name in ("corpus", "scores"))
    shutil.copytree(asked.corpus, corpus)
    shutil.copytree(asked.scores, scores)
    for directory in (corpus, scores):
        next(directory.glob("pages/sw/train-*.parquet")).unlink()
    here = replace(asked, corpus=str(corpus), scores=str(scores), out=str(tmp_path / "out"))
    with pytest.raises(ArtifactError, match=f"{corpus} should have .* pages/sw/.* is missing"):
        here.execute()


def one_score(**columns):
    """Returns scores of one page."""
    row = {"combined_language": "sw", "language_share": 1.0, "benchmarks": []} | columns
    return pa.Table.from_pylist([row])


LINES = [" ".join(f"neno{number}" for number in range(at, at + 7)) for at in range(0, 49, 7)]
(SHORT,) = signals([".\n".join(LINES) + "."], "sw").to_pylist()  # of a page of 49 words


@pytest.mark.parametrize(
    ("score_of_page", "rules", "reason"),
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
def test_each_rule_has_its_reason(score_of_page, rules, reason):
    found = reasons(
        ["https://a.example/"],
        one_score(**score_of_page),
        "sw",
        replace(NO_RULES, **rules),
        [False],
    )
    assert found == [reason]


def test_the_first_rule_counts(tmp_path):
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("a.example\n")
    rules = replace(NO_RULES, blocked=(str(blocked),), benchmarks=True)
    scores = one_score(benchmarks=["xnli"])
    assert reasons(["https://a.example/"], scores, "sw", rules, [True]) == ["robots_txt"]
    assert reasons(["https://a.example/"], scores, "sw", rules, [False]) == ["blocked_domain"]
    assert reasons(["https://b.example/"], scores, "sw", rules, [True]) == ["robots_txt"]
    assert reasons(["https://b.example/"], scores, "sw", rules, [False]) == ["benchmark_text"]


def test_what_an_owner_refuses_is_not_kept_because_another_list_has_it_too(tmp_path):
    both = tmp_path / "both.txt"
    both.write_text("a.example\n")
    rules = replace(NO_RULES, blocked=(str(both),), opted_out=(str(both),))
    urls = ["https://a.example/", "https://b.example/"]
    scores = pa.concat_tables([one_score(), one_score()])
    why = reasons(urls, scores, "sw", rules, [False, True])
    assert why == ["opted_out", "robots_txt"]
    texts = without_refused_text(pa.table({"text": ["a", "b"], "reason": why}))["text"]
    assert texts.to_pylist() == ["", ""]


def test_only_robots_txt_of_hosts_with_pages_travel(asked, selected, tmp_path):
    """A crawl has those of millions of others."""
    others = tmp_path / "others.jsonl"
    lines = [{"host": f"other{number}.example", "robots": ROBOTS * 50} for number in range(200)]
    others.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    robots = (*asked.robots, str(others))
    out = str(tmp_path / "out")
    files = corpus_files(asked.corpus)
    workspace = Workspace(str(tmp_path), "key")
    workspace.write_shards(files)
    for number in range(len(files)):
        ListHosts(workspace, asked.corpus)(number)
    exchange = AskRobots(workspace, Waves(1, 1), asked.corpus, robots, "CCBot")
    sent = [
        sum(len(part) for _, part in exchange.send(len(files) + at, Wave(0, 1))) for at in range(2)
    ]
    assert sent[0] > 0
    assert sent[1] == 0
    replace(asked, robots=robots, out=out).execute()
    assert rows_in(tmp_path / "out") == rows_in(selected)


def test_files_of_selected_pages_are_parquet_with_the_same_columns(corpus, selected):
    for path in corpus.glob("pages/*/*.parquet"):
        there = pq.read_schema(selected / path.relative_to(corpus))
        assert there.equals(pq.read_schema(path))
