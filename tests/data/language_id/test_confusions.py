import csv
from collections import defaultdict
from importlib import resources

import pytest

from data.language_id import confusions
from data.languages import codes

ALL = {"cld2": confusions.of_cld2(), "cld3": confusions.of_cld3()}


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
    assert cld3.share("vi", "sw", is_usual_script=True) == confusions.RARE
    assert cld3.share("ky", "uz", is_usual_script=False) == confusions.ANY
    assert cld3.share("ro", "oc", is_usual_script=True) == confusions.ANY


def test_an_answer_settles_only_if_no_other_language_has_it():
    assert ALL["cld2"].settles("el")
    assert not ALL["cld2"].settles("ms")
    assert {"ms", "id"} <= ALL["cld2"].suspects("ms")
    assert "und" not in ALL["cld2"].suspects("und")


def test_a_fasttext_model_knows_its_labels():
    model = confusions.of_fasttext(["sw", "yo"])
    assert model.share("sw", "yo", is_usual_script=True) == confusions.RARE
    assert model.share("sw", "de", is_usual_script=True) == confusions.ANY
    assert model.suspects("sw") == {"sw"}
