""" """

import csv
from collections import defaultdict
from dataclasses import replace
from importlib import resources

import pytest

from data.language_id import opinions
from data.language_id.combined import SCRIPTS
from data.language_id.identifiers import CLD2Answer, Prediction
from data.language_id.opinions import (
    ALSO,
    alone_in,
    is_settled,
    is_usually_written_in,
    is_written_in,
    opinion_of_cld2,
    opinions_of,
)
from data.languages import all_languages, codes, find, get

ALL = {"cld2": opinions.cld2_confusions(), "cld3": opinions.cld3_confusions()}


def rows() -> list[dict[str, str]]:
    text = resources.files("data.language_id").joinpath("confusions.tsv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def test_the_table_names_only_what_identifiers_know():
    known = {*codes(None), *ALL["cld2"].knows, *ALL["cld3"].knows, "und"}
    for row in rows():
        assert row["language"] in known
        assert row["answer"] in ALL[row["identifier"]].knows | {"und"}
        assert row["answer"] != row["language"]


@pytest.mark.parametrize("identifier", ALL)
def test_shares_of_a_language_are_at_most_one(identifier):
    wrong: dict[str, float] = defaultdict(float)
    for row in rows():
        if row["identifier"] == identifier:
            wrong[row["language"]] += float(row["share"])
    assert wrong
    for language, share in wrong.items():
        right = ALL[identifier].share(language, language, is_usual_script=True)
        assert 0 < share + right <= 1


def test_what_is_not_counted_is_rare_for_known_languages_and_random_for_others():
    cld3 = ALL["cld3"]
    assert cld3.share("vi", "yo", is_usual_script=True) > 0.9
    assert cld3.share("vi", "sw", is_usual_script=True) == opinions.RARE
    assert cld3.share("ky", "uz", is_usual_script=False) == opinions.ANY
    assert cld3.share("ro", "oc", is_usual_script=True) == opinions.ANY


def test_an_answer_settles_only_if_no_other_language_has_it():
    assert ALL["cld2"].suspects("el") == {"el"}
    assert ALL["cld2"].suspects("ms") != {"ms"}
    assert {"ms", "id"} <= ALL["cld2"].suspects("ms")
    assert "und" not in ALL["cld2"].suspects("und")


def test_cld3_does_not_know_a_language_that_a_user_added(monkeypatch):
    added = replace(get("sw"), code="vot", pages_millions=0.0)
    monkeypatch.setattr(opinions, "all_languages", lambda: (*all_languages(), added))
    knows = opinions.cld3_confusions.__wrapped__().knows
    assert knows == ALL["cld3"].knows
    assert knows == {*codes(None), "hr", "bs"}


def test_a_fasttext_model_knows_its_labels():
    model = opinions.fasttext_confusions(["sw", "yo"])
    assert model.share("sw", "yo", is_usual_script=True) == opinions.RARE
    assert model.share("sw", "de", is_usual_script=True) == opinions.ANY
    assert model.suspects("sw") == {"sw"}


MIXED_SCRIPTS = ("Jpan", "Kore", "Hans")  # what Han, Kana and Hangul make up


def test_every_language_is_written_in_its_usual_script():
    known = {*SCRIPTS, *MIXED_SCRIPTS}
    for one in all_languages():
        assert one.script in known
        assert is_written_in(one.code, (one.script,))
        assert is_usually_written_in(one.code, (one.script,))


def test_other_scripts_are_of_known_languages_and_not_the_usual_one():
    for code, scripts in ALSO.items():
        language = find(code)
        assert language is not None
        assert language.code == code
        assert language.script not in scripts
        assert set(scripts) <= set(SCRIPTS)


@pytest.mark.parametrize("code, script", [("sr", "Latn"), ("uz", "Cyrl"), ("jv", "Java")])
def test_languages_of_several_scripts(code, script):
    assert is_written_in(code, (script,))
    assert not is_usually_written_in(code, (script,))


def test_a_language_is_not_written_in_a_script_of_others():
    assert not is_written_in("hi", ("Hans",))
    assert not is_written_in("sw", ("Arab",))
    assert is_written_in("tt", ("Arab",))
    assert is_written_in("sw", ())


def test_scripts_of_one_language():
    found = [alone_in((one,)) for one in ("Thai", "Java", "Jpan", "Latn", "Zyyy")]
    assert found == ["th", "jv", "ja", None, None]
    assert alone_in(("Thai", "Latn")) is None
    assert alone_in(()) is None


def test_one_of_the_scripts_is_enough():
    assert is_written_in("ru", ("Latn", "Cyrl"))
    assert is_usually_written_in("ru", ("Latn", "Cyrl"))


def test_an_answer_in_another_script_does_not_count():
    said = Prediction("hi", 0.98, True)
    assert opinions_of(opinions.cld3_confusions(), said, ("Hans",)) == ()
    (one,) = opinions_of(opinions.cld3_confusions(), said, ("Deva",))
    assert (one.language, one.confidence) == ("hi", 0.98)
    assert opinions_of(opinions.cld3_confusions(), Prediction("und", 0.0, False), ("Latn",)) == ()


def test_cld2_gives_its_next_answer_in_the_script():
    answer = CLD2Answer((("en", 0.6), ("zh", 0.4)), True)
    assert opinion_of_cld2(answer, ("Hans",))[1:] == ("zh", 0.4)
    assert opinion_of_cld2(answer, ("Latn",))[1:] == ("en", 0.6)
    assert opinion_of_cld2(answer._replace(is_reliable=False), ("Latn",))[1:] == ("en", 0.3)
    assert opinion_of_cld2(answer, ("Thai",))[1:] == ("und", 1.0)


@pytest.mark.parametrize(
    "shares, is_reliable, settled",
    [
        ((("el", 0.95), ("en", 0.05)), True, True),
        ((("el", 0.55), ("en", 0.45)), True, False),
        ((("el", 0.95),), False, False),
        ((), True, False),
    ],
)
def test_cld2_settles_reliable_pages_in_one_language(shares, is_reliable, settled):
    answer = CLD2Answer(shares, is_reliable)
    assert is_settled(opinion_of_cld2(answer, ("Grek",)), answer) == settled


@pytest.mark.parametrize(
    ("share", "score", "settled"), [(0.97, 800.0, True), (0.96, 800.0, False), (1.0, 799.0, False)]
)
def test_cld2_settles_english_where_its_score_leaves_no_doubt(share, score, settled):
    """Below the bounds it may be Hindi in Latin script, whose scores end at 644."""
    answer = CLD2Answer((("en", share),), True, score)
    assert is_settled(opinion_of_cld2(answer, ("Latn",)), answer) == settled


def test_cld2_does_not_settle_what_it_confuses():
    answer = CLD2Answer((("ms", 0.99),), True, 1200.0)
    assert not is_settled(opinion_of_cld2(answer, ("Latn",)), answer)
