import iso639
import pytest

from data import languages
from data.errors import DataError
from data.languages import (
    LONGEST_DECLARATION,
    all_languages,
    codes,
    declared_language,
    find,
    get,
    iso639_3_codes,
    table_rows,
    unlisted_declaration,
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


@pytest.mark.parametrize(
    "tags, code",
    [
        ("zh-CN zh_TW zh-hant-hk yue-Hant-HK zh-yue chi Chinese", "zh"),
        ("en-US en_GB.UTF-8 EN-us-x-code english", "en"),
        ("pt-BR por_PT", "pt"),
        ("sr-Latn sr_RS@latin", "sr"),
        ("hi-Latn-IN HI_latn hi-Latn-u-nu-deva", "hi-Latn"),
        ("ru-Latn-x-deva ru_Latn_RU", "ru-Latn"),
        ("zh-Latn-pinyin cmn-Latn", "zh-Latn"),
        ("hi-x-latn hi-Deva-IN hi-u-Latn", "hi"),  # no script behind a singleton
        ("he-IL iw-IL", "iw"),
        ("nn-NO nb_NO", "no"),
        ("arz_Arab ar-EG ary", "ar"),
        ("hr-HR bs tlh und-Latn x-sw -CN _ english-text", None),
    ],
)
def test_a_declared_tag_is_the_language_of_its_first_subtag(tags, code):
    assert {tag: declared_language(tag) for tag in tags.split()} == dict.fromkeys(
        tags.split(), code
    )


def test_the_script_of_a_tag_counts_before_that_of_its_record():
    assert declared_language("hin", "Latn") == "hi-Latn"
    assert declared_language("hi-Deva-IN", "Latn") == "hi"
    assert declared_language("West Frisian", "Latn") == "fy"


def test_tags_of_any_length_and_number_take_no_memory():
    assert declared_language("zh-" + "a" * 10_000_000) is None
    assert len(unlisted_declaration("z" * 10_000_000)) == LONGEST_DECLARATION
    for number in range(10_000):
        assert declared_language(f"zh-x-{number}", f"{number}") == "zh"
    for cache in (languages._code_of_declaration, languages.code_of_iso_639):
        assert cache.cache_info().currsize <= 4096


def test_only_declarations_that_the_table_lacks_are_unlisted():
    listed = ["sw", "swa", "he", "ZH-hans", "hi-latn"]
    assert [unlisted_declaration(name) for name in [*listed, "", None, " ,en"]] == [""] * 8
    assert unlisted_declaration(" pt-BR , en") == "pt-BR"
    assert unlisted_declaration("Swahili") == "Swahili"
    assert unlisted_declaration("x\x1b\ud800") == "x\\x1b\\ud800"
