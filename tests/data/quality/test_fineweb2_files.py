"""Which of FineWeb2's files is a language's."""

from pathlib import Path

from fineweb2_file import FILE

from data.quality.fineweb2_files import file_name, of_directory
from data.quality.parameters import ENGLISH_THRESHOLDS


def test_a_macrolanguage_has_the_file_of_its_standard_language() -> None:
    codes = "ka", "zh", "ar", "sw", "und"
    assert [file_name(code) for code in codes] == [
        "kat_Geor",
        "cmn_Hani",
        "arb_Arab",
        "swh_Latn",
        None,
    ]


def test_languages_with_a_file_have_its_thresholds(tmp_path: Path) -> None:
    (tmp_path / "swh_Latn.yml").write_text(FILE, encoding="utf-8")
    (tmp_path / "cmn_Hani.yml").write_text(FILE.replace("0.302", "0.25"), encoding="utf-8")
    (tmp_path / "kat_Geor.yml").write_text(FILE, encoding="utf-8")  # which nobody asked for
    found = of_directory(tmp_path, ["sw", "zh", "yo", "und"])
    assert {code: one.dup_line_frac for code, one in found.items()} == {
        "en": 0.3,
        "sw": 0.302,
        "zh": 0.25,
    }
    assert found["en"] == ENGLISH_THRESHOLDS
    assert found["sw"].stop_words == ("ya", "n\u00ed")
    assert {found[code].pages_of for code in ("sw", "zh")} == {"file"}
