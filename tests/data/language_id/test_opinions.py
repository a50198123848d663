"""How often identifiers answer what, in which scripts an answer counts, and when one decides."""

from collections import defaultdict
from dataclasses import replace

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
from data.languages import all_languages, codes, find, get, table_rows

ALL = {"cld2": opinions.cld2_confusions(), "cld3": opinions.cld3_confusions()}
MIXED_SCRIPTS = ("Jpan", "Kore", "Hans")  # what Han, Kana and Hangul make up


def test_the_table_names_what_identifiers_know_with_shares_of_at_most_one():
    known = {*codes(None), *ALL["cld2"].knows, *ALL["cld3"].knows, "und"}
    wrong: dict[tuple[str, str], float] = defaultdict(float)
    for row in table_rows("data.language_id", "confusions.tsv"):
        assert row["language"] in known
        assert row["answer"] in ALL[row["identifier"]].knows | {"und"}
        assert row["answer"] != row["language"]
        wrong[row["identifier"], row["language"]] += float(row["share"])
    assert {identifier for identifier, _ in wrong} == ALL.keys()
    for (identifier, language), share in wrong.items():
        right = ALL[identifier].share(language, language, is_usual_script=True)
        assert 0 < share + right <= 1


def test_what_is_not_counted_is_rare_for_known_languages_and_random_for_others():
    cld3, model = ALL["cld3"], opinions.fasttext_confusions(["sw", "yo"])
    assert cld3.share("vi", "yo", is_usual_script=True) > 0.9
    assert cld3.share("vi", "sw", is_usual_script=True) == opinions.RARE
    assert cld3.share("ky", "uz", is_usual_script=False) == opinions.ANY
    assert cld3.share("ro", "oc", is_usual_script=True) == opinions.ANY
    assert model.share("sw", "yo", is_usual_script=True) == opinions.RARE
    assert model.share("sw", "de", is_usual_script=True) == opinions.ANY
    assert model.suspects("sw") == {"sw"}


def test_an_answer_is_suspected_of_each_language_that_has_it():
    assert ALL["cld2"].suspects("el") == {"el"}
    assert {"ms", "id"} <= ALL["cld2"].suspects("ms")
    assert "und" not in ALL["cld2"].suspects("und")


def test_cld3_does_not_know_a_language_that_a_user_added(monkeypatch):
    added = replace(get("sw"), code="vot", pages_millions=0.0)
    monkeypatch.setattr(opinions, "all_languages", lambda: (*all_languages(), added))
    assert opinions.cld3_confusions.__wrapped__().knows == {*codes(None), "hr", "bs"}
    assert ALL["cld3"].knows == {*codes(None), "hr", "bs"}


def test_languages_are_written_in_their_usual_script_and_in_others():
    for one in all_languages():
        assert one.script in {*SCRIPTS, *MIXED_SCRIPTS}
        assert is_written_in(one.code, (one.script,))
        assert is_usually_written_in(one.code, (one.script,))
    for code, scripts in ALSO.items():
        language = find(code)
        assert language is not None
        assert language.code == code
        assert set(scripts) <= set(SCRIPTS) - {language.script}
        for script in scripts:
            assert is_written_in(code, (script,))
            assert not is_usually_written_in(code, (script,))


def test_one_of_the_scripts_is_enough_and_others_do_not_do():
    assert is_written_in("ru", ("Latn", "Cyrl"))
    assert is_usually_written_in("ru", ("Latn", "Cyrl"))
    assert not is_written_in("hi", ("Hans",))
    assert not is_written_in("sw", ("Arab",))
    assert is_written_in("tt", ("Arab",))
    assert is_written_in("sw", ())


def test_scripts_of_one_language():
    scripts = [("Thai",), ("Java",), ("Jpan",), ("Latn",), ("Zyyy",), ("Thai", "Latn"), ()]
    assert list(map(alone_in, scripts)) == ["th", "jv", "ja", None, None, None, None]


def test_an_answer_in_another_script_does_not_count():
    said = Prediction("hi", 0.98, True)
    assert opinions_of(ALL["cld3"], said, ("Hans",)) == ()
    assert opinions_of(ALL["cld3"], said, ("Deva",)) == ((ALL["cld3"], "hi", 0.98),)
    assert opinions_of(ALL["cld3"], Prediction("und", 0.0, False), ("Latn",)) == ()


def test_cld2_gives_its_next_answer_in_the_script():
    answer = CLD2Answer((("en", 0.6), ("zh", 0.4)), True)
    assert opinion_of_cld2(answer, ("Hans",))[1:] == ("zh", 0.4)
    assert opinion_of_cld2(answer, ("Latn",))[1:] == ("en", 0.6)
    assert opinion_of_cld2(answer._replace(is_reliable=False), ("Latn",))[1:] == ("en", 0.3)
    assert opinion_of_cld2(answer, ("Thai",))[1:] == ("und", 1.0)


@pytest.mark.parametrize(
    "script, shares, is_reliable, score, settled",
    [
        ("Grek", {"el": 0.95, "en": 0.05}, True, 0.0, True),
        ("Grek", {"el": 0.55, "en": 0.45}, True, 0.0, False),
        ("Grek", {"el": 0.95}, False, 0.0, False),
        ("Grek", {}, True, 0.0, False),
        # Below the bounds it may be Hindi in Latin script, whose scores end at 644.
        ("Latn", {"en": 0.97}, True, 800.0, True),
        ("Latn", {"en": 0.96}, True, 800.0, False),
        ("Latn", {"en": 1.0}, True, 799.0, False),
        ("Latn", {"ms": 0.99}, True, 1200.0, False),  # which it confuses
    ],
)
def test_cld2_settles_reliable_pages_in_one_language(script, shares, is_reliable, score, settled):
    answer = CLD2Answer(tuple(shares.items()), is_reliable, score)
    assert is_settled(opinion_of_cld2(answer, (script,)), answer) == settled
