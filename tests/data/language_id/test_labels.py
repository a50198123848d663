import pytest

from data.language_id.labels import mc4_code
from data.languages import all_languages


@pytest.mark.parametrize(
    "label, code",
    [
        ("__label__sw", "sw"),  # lid.176
        ("__label__swh_Latn", "sw"),  # GlotLID, NLLB
        ("__label__he", "iw"),
        ("__label__heb_Hebr", "iw"),
        ("__label__nob_Latn", "no"),
        ("__label__nno_Latn", "no"),
        ("__label__tl", "fil"),
        ("__label__jav_Latn", "jv"),
        ("__label__zho_Hant", "zh"),
        ("__label__cmn_Hani", "zh"),
        ("__label__arz_Arab", "ar"),  # a macrolanguage's member
        ("__label__pbt_Arab", "ps"),
        ("__label__ind_Latn", "id"),  # a language of mC4 first, a member of Malay second
        ("__label__zsm_Latn", "ms"),
        ("__label__hin_Deva", "hi"),
        ("__label__hin_Latn", "hi-Latn"),
        ("__label__rus_Latn", "ru-Latn"),
        ("__label__srp_Latn", "sr"),
        ("__label__als_Latn", "sq"),
        ("__label__als", "gsw"),  # lid.176 means Alemannic
        ("__label__hrv_Latn", "hr"),
        ("__label__quz_Latn", "quz"),
        ("__label__und_Mong", "und"),
        ("__label__zxx_Zxxx", "zxx"),
        ("__label__nonsense", "und"),
    ],
)
def test_labels(label, code):
    assert mc4_code(label) == code


def test_every_language_has_its_three_letter_code():
    three_letters = {one.iso639_3: one.code for one in all_languages() if one.iso639_3}
    found = {name: mc4_code(f"__label__{name}_{'Xxxx'}") for name in three_letters}
    assert found == three_letters
    assert len(found) == 101
