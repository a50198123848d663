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


@pytest.mark.parametrize(
    ("made", "requested", "said"),
    [
        (body(sw=(9, 1, {}), fr=(8, 2, {"too_short": 3})), ("sw", "fr"), []),
        (body(), None, ["The input has no record"]),
        (body(sw=(0, 0, {"too_short": 3})), None, ["100% .* too_short"]),
        (
            body(sw=(9, 1, {}), broken=81),
            None,
            ["81 of 90 records, 0 of 0 bytes, are broken, most as no_text"],
        ),
        (body(sw=(9, 1, {}), broken=1, why="too_large", size=10, text=10), None, []),
        (
            body(sw=(9, 1, {}), broken=1, why="too_large", size=5000, text=10),
            None,
            [r"1 of 10 records, 5,000 of 5,010 bytes, are broken, most as too_large .*32 MiB"],
        ),
        (body(sw=(9, 1, {"duplicate_url": 18})), None, ["67% .* duplicate_url; many pages share"]),
        (body(sw=(9, 1, {})), ("sw", "zu", "yo"), ["No page was kept in zu, yo, which"]),
        (body(sw=(9, 0, {})), None, [r"held out \(one in 1000\), so .*--validation-minimum 10"]),
        (body(sw=(9, 0, {}), fr=(9, 1, {})), None, ["No page is held out in sw"]),
        (body(sw=(1, 0, {}), fr=(9, 1, {})), None, ["Of sw there is one page only"]),
        (body(sw=(1, 0, {})), None, ["Of sw there is one page only, .* give more text"]),
        (
            body(sw=(9, 5, {})),
            None,
            ["5 of 9 pages are held out .* a smaller --validation-minimum"],
        ),
        (
            body(sw=(9, 1, {}), broken=1, why="truncated"),
            None,
            ["end early: 1, such as in a.jsonl.gz; "],
        ),
    ],
)
def test_what_is_odd_about_a_corpus_is_said(made, requested, said):
    found = list(cautions(made, "one in 1000", requested))
    assert len(found) == len(said), found
    for sentence, pattern in zip(found, said, strict=True):
        assert re.search(pattern, sentence)


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


def test_a_corpus_of_a_published_split_is_led_to_its_validation_files():
    rule = none().held_out
    (said,) = cautions(body(sw=(9, 0, {})), rule)
    assert "with its validation files too" in said
    (said,) = cautions(body(sw=(9, 0, {})), mc4().held_out)  # which would train on them
    assert "validation files" not in said


def test_published_validation_files_are_named_where_rules_train_on_them():
    files, made = ["c4-sw-validation.tfrecord-00000-of-00001.json.gz"], body(sw=(9, 1, {}))
    assert list(cautions(made, none().held_out, published=files)) == []
    (said,) = cautions(made, mc4().held_out, published=files)
    assert said.startswith("Files that were published for validation, of whose pages these rules")
    assert f"1, such as {files[0]}; leave them out" in said


def test_pages_of_one_address_that_are_held_out_together_are_named():
    rule = share_of_each_language(0.0, minimum=5)
    (said,) = cautions(body(sw=(170, 5, {}), yo=(60, 30, {})), rule)
    assert "Pages of yo share an address or a text" in said
    assert "(yo: 30 pages for 5)" in said
    assert list(cautions(body(sw=(70, 6, {}), yo=(8, 4, {})), rule)) == []
