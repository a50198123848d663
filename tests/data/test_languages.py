import iso639
import pytest

from data.errors import DataError
from data.languages import (
    all_languages,
    codes,
    declared_language,
    find,
    get,
    iso639_3_codes,
    table_rows,
)


def test_there_are_101_languages_and_6_variants():
    variants = [language.code for language in all_languages() if language.is_script_variant]
    assert len(all_languages()) == 107
    assert sorted(variants) == ["bg-Latn", "el-Latn", "hi-Latn", "ja-Latn", "ru-Latn", "zh-Latn"]


def test_no_name_means_two_languages():
    names = [
        name.lower()
        for language in all_languages()
        for name in {language.code, language.iso639_3, *language.aliases} - {None}
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "name, code",
    [("sw", "sw"), ("swa", "sw"), ("he", "iw"), ("nb", "no"), ("tl", "fil"), ("ZH-hans", "zh")],
)
def test_aliases(name, code):
    assert get(name).code == code


def test_the_codes_of_fineweb2_are_known():
    rows = table_rows("data.curation", "fineweb2_files.tsv")
    found = {row["file"]: declared_language(row["file"].partition("_")[0]) for row in rows}
    assert found == {row["file"]: row["code"].partition("-")[0] for row in rows}
    assert declared_language("ekk") == "et"


def test_unknown_language_gets_an_offer():
    assert find("tlh") is None
    with pytest.raises(DataError, match="'swahilli' is not one of mC4's 107 codes"):
        get("swahilli")
    with pytest.raises(DataError, match="did you mean"):
        get("swb")


def test_codes_are_found_by_english_names_and_between_commas():
    assert codes(["Swahili,he", " Haitian Creole , sw"]) == ("sw", "iw", "ht")
    with pytest.raises(DataError, match="did you mean swahili"):
        codes(["swahil"])
    for nothing in ([], [""], [",", " "]):
        with pytest.raises(DataError, match="No language was named"):
            codes(nothing)


def test_codes_of_iso_639_stand_for_all_but_script_variants():
    found = iso639_3_codes(codes(None))
    assert len(found) == 101
    assert all(iso639.is_language(code, "pt3") for code in found)
    assert iso639_3_codes(["iw", "he", "hi-Latn", "und", "x/y"]) == ["heb", "hin"]


def test_codes():
    assert codes(["he", "sw", "iw"]) == ("iw", "sw")
    assert len(codes(None)) == 107


@pytest.mark.parametrize(
    "header, code", [("eng,swa", "en"), (" sw ", "sw"), ("", None), (None, None), ("hrv", None)]
)
def test_declared(header, code):
    assert declared_language(header) == code
