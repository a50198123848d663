""" """

import re

import pytest

from data.rules.held_out import share_of_each_language
from data.rules.rule_sets import mc4, none
from pipeline.corpus import job as new_job
from pipeline.corpus.counts import Tally
from pipeline.corpus.summary import cautions, manifest_of


def test_lost_pages_are_an_error(tmp_path):
    job = new_job.begin_job(str(tmp_path), mc4(), [])
    tally = Tally()
    tally.add("read", number=2)
    tally.add("kept", "sw", "train")
    with pytest.raises(RuntimeError, match="2 pages were read, but 1 were kept, rejected or not"):
        manifest_of(tally, job, files=1, not_read={})


def body(*, broken=0, why="no_text", size=0, text=0, declared=None, **languages) -> dict:
    """The body of a manifest: kept, held-out and rejected pages by language."""
    pages = sum(kept + sum(rejected.values()) for kept, _, rejected in languages.values())
    return {
        "input": {"files": 1, "records": pages, "text_bytes": text},
        "broken_records": (
            {why: {"count": broken, "bytes": size, "samples": ["a.jsonl.gz@0"]}} if broken else {}
        ),
        "declared": declared or {},
        "languages": {
            code: {"kept": kept, "held_out": held_out, "rejected": rejected}
            for code, (kept, held_out, rejected) in languages.items()
        },
    }


def broken(why: str, count: int = 1, **sizes: int) -> dict:
    return body(sw=(9, 1, {}), broken=count, why=why, **sizes)


@pytest.mark.parametrize(
    ("made", "requested", "said"),
    [
        (body(sw=(9, 1, {}), fr=(8, 2, {"too_short": 3})), ("sw", "fr"), ""),
        (body(), None, "The input has no record"),
        (body(sw=(0, 0, {"too_short": 3})), None, "100% .* too_short"),
        (
            broken("no_text", 81),
            None,
            "81 of 90 records, 0 of 0 bytes, are broken, most as no_text",
        ),
        (broken("too_large", size=10, text=10), None, ""),
        (broken("too_large", size=5000, text=10), None, "1 of 10 .* 5,000 of 5,010 bytes.*32 MiB"),
        (broken("truncated"), None, "end early: 1, such as in a.jsonl.gz; "),
        (body(sw=(9, 1, {"duplicate_url": 18})), None, "67% .* duplicate_url; many pages share"),
        (body(sw=(9, 1, {})), ("sw", "zu", "yo"), "No page was kept in zu, yo, which"),
        (body(sw=(9, 0, {})), None, r"held out \(one in 1000\), so .*--validation-minimum 10"),
        (body(sw=(9, 0, {}), fr=(9, 1, {})), None, "No page is held out in sw"),
        (body(sw=(1, 0, {}), fr=(9, 1, {})), None, "Of sw there is one page only"),
        (body(sw=(1, 0, {})), None, "Of sw there is one page only, .* give more text"),
        (body(sw=(9, 5, {})), None, "5 of 9 pages are held out .* a smaller --validation-minimum"),
    ],
)
def test_what_is_odd_about_a_corpus_is_said(made, requested, said):
    found = list(cautions(made, "one in 1000", requested))
    assert len(found) == bool(said), found
    assert all(re.search(said, sentence) for sentence in found)


def test_pages_with_an_unknown_code_are_counted_where_languages_are_declared():
    codes = {"sw": {"sw-KE": 5}, "und": {"pol_Latnx": 2, "x\x1b": 1}}
    made = body(sw=(9, 1, {}), und=(4, 0, {}), declared=codes)
    (said,) = cautions(made, "one in 1000", declared=True)
    assert said.startswith("4 of 13 kept pages declare no language or a code")
    assert "(pol_Latnx: 2, x\\x1b: 1); they are in pages/und" in said
    assert "sw-KE" not in said
    assert list(cautions(made, "one in 1000")) == []
    (said,) = cautions(made | {"declared": {}}, "one in 1000", declared=True)
    assert "known; they are" in said


def test_the_commonest_declarations_are_named_and_the_others_counted(tmp_path):
    job, tally = new_job.begin_job(str(tmp_path), none(), []), Tally()
    for number in range(30):
        tally.add("declared", "und", f"x{number:02}", number)
    tally.add("declared", "zh", "zh-CN", 7)
    found = manifest_of(tally, job, files=1, not_read={})["declared"]
    assert found["zh"] == {"zh-CN": 7}
    assert [*found["und"]] == [*(f"x{number}" for number in range(29, 19, -1)), "others"]
    assert sum(found["und"].values()) == sum(range(30))
    identified = new_job.begin_job(str(tmp_path), mc4(), [])
    assert manifest_of(tally, identified, files=1, not_read={})["declared"] == {}


def test_published_validation_files_are_named_where_rules_use_them_or_train_on_them():
    empty, made, share = body(sw=(9, 0, {})), body(sw=(9, 1, {})), none().held_out
    assert "with its validation files too" in next(cautions(empty, share))
    assert "validation files" not in next(cautions(empty, mc4().held_out))  # would train on them
    files = ["c4-sw-validation.tfrecord-00000-of-00001.json.gz"]
    assert list(cautions(made, share, published=files)) == []
    (said,) = cautions(made, mc4().held_out, published=files)
    assert said.startswith("Files that were published for validation, of whose pages these rules")
    assert f"1, such as {files[0]}; leave them out" in said


def test_pages_of_one_address_that_are_held_out_together_are_named():
    rule = share_of_each_language(0.0, minimum=5)
    (said,) = cautions(body(sw=(170, 5, {}), yo=(60, 30, {})), rule)
    assert "Pages of yo share an address or a text" in said
    assert "(yo: 30 pages for 5)" in said
    assert list(cautions(body(sw=(70, 6, {}), yo=(8, 4, {})), rule)) == []
