import itertools
import math
import os
import subprocess
import sys

import gflanguages
import pytest
from declarations import HEBREW, SIX_LANGUAGES, SWAHILI, YORUBA
from hypothesis import given
from hypothesis import strategies as st

from data.language_id import confusions
from data.language_id.cld3 import CLD3Identifier
from data.language_id.combined import CombinedIdentifier, decided
from data.language_id.opinions import Opinion
from data.language_id.prediction import Identifier
from data.language_id.written_in import is_usually_written_in, is_written_in

CHINESE = (
    "关于bitcoin.org\n关于bitcoin.org\nBitcoin.org致力于帮助比特币实现可持续性发展。\n"
    "谁拥有bitcoin.org域名？\n中本聪和马尔蒂‧马尔米\nBitcoin.org比特币一开始是由比特币最初的两名"
    "开发者， 中本聪 和 马尔蒂·马尔米 ，注册并拥有的。"
)
IN_CYRILLIC = (
    "Ҳамма одамлар эркин, қадр-қиммат ва ҳуқуқларда тенг бўлиб туғиладилар. Улар ақл ва виждон "
    "соҳибидирлар ва бир-бирлари ила биродарларча муомала қилишлари зарур."
)
JAVANESE = "ꦱꦧꦼꦤ꧀ꦲꦸꦩꦠ꧀ꦩꦤꦸꦁꦱꦭꦲꦶꦂꦏꦤ꧀ꦛꦶꦲꦏ꧀ꦲꦏ꧀ꦏꦁꦥꦺꦴꦝꦺꦴ " * 5
ENGLISH = (
    "All human beings are born free and equal in dignity and rights. They are endowed with it."
)
SCRIPTS = [("Latn",), ("Cyrl",), ("Java",), ("Latn", "Cyrl"), ()]
CLD2, CLD3 = confusions.of_cld2(), confusions.of_cld3()
OPINIONS = st.builds(
    Opinion,
    st.sampled_from([CLD2, CLD3, confusions.of_fasttext(["sw", "en", "uz"])]),
    st.sampled_from(["und", "sw", "vi", "yo", "ms", "id", "uz", "hr", "zxx", "oc"]),
    st.floats(0, 1),
)


@pytest.fixture(scope="module")
def combined() -> Identifier:
    return CombinedIdentifier()


@pytest.mark.parametrize(
    "text, language",
    [(SWAHILI, "sw"), (HEBREW, "iw"), (YORUBA, "yo"), (CHINESE, "zh"), (IN_CYRILLIC, "uz")],
)
def test_they_decide_rightly_together(combined, text, language):
    found = combined.identify(text)
    assert found.language == language
    assert 0.5 < found.probability <= 1


@pytest.mark.parametrize("text, wrong", [(YORUBA, "vi"), (CHINESE, "mr"), (IN_CYRILLIC, "tg")])
def test_cld3_alone_is_wrong_on_some_of_these(text, wrong):
    assert CLD3Identifier().identify(text).language == wrong


def test_a_script_of_one_language_speaks_for_it(combined):
    assert combined.identify(JAVANESE).language == "jv"


def test_noise_is_no_language_and_short_text_is_undetermined(combined):
    assert combined.identify("4f5a" * 40).language == "zxx"
    assert combined.identify("").language == "und"
    assert combined.identify("qxj vvk zzrt pqw").language == "und"


def test_cld3_is_not_asked_where_it_could_only_agree(combined):
    samples = gflanguages.LoadLanguages()
    greek = combined.answers(samples["el_Grek"].sample_text.specimen_16, None)
    assert (greek.combined.language, greek.cld3) == ("el", None)
    croatian = combined.answers(samples["hr_Latn"].sample_text.specimen_16, None)
    assert croatian.cld3 is not None


def test_a_fasttext_model_decides_with_them():
    with_model = CombinedIdentifier(str(SIX_LANGUAGES))
    swahili = with_model.answers(SWAHILI, None)
    assert swahili.fasttext is not None
    assert (swahili.fasttext.language, swahili.combined.language) == ("sw", "sw")
    other = with_model.answers(CHINESE, None)
    assert other.fasttext is not None
    assert other.fasttext.language in ("sw", "iw", "hi", "en", "vi", "yo", "und")
    assert other.combined.language == "zh"


@given(st.lists(OPINIONS, max_size=3), st.sampled_from(SCRIPTS))
def test_the_decision_is_the_best_of_all_rated_languages(opinions, scripts):
    found = decided(opinions, scripts)
    ratings = all_ratings(opinions, scripts)
    assert ratings[found.language] == pytest.approx(max(ratings.values()))
    assert found.probability == pytest.approx(max(ratings.values()) / sum(ratings.values()))
    for other in itertools.permutations(opinions):
        assert decided(other, scripts).probability == pytest.approx(found.probability)


def all_ratings(opinions: list[Opinion], scripts: tuple[str, ...]) -> dict[str, float]:
    """Naive Bayes over the languages that some answer speaks for, word by word."""
    candidates = {"und"} | ({"jv"} if scripts == ("Java",) else set())
    for confused, answer, _ in opinions:
        candidates |= {answer} | {
            language for language, share in confused.shares.get(answer, {}).items() if share
        }
    kept = {one for one in candidates if one == "und" or is_written_in(one, scripts)}
    return {
        one: math.prod(
            confidence
            * confused.share(answer, one, is_usual_script=is_usually_written_in(one, scripts))
            + (1 - confidence) * 0.01
            for confused, answer, confidence in opinions
        )
        * (0.05 if one == "und" and scripts == ("Java",) else 1)
        for one in kept
    }


def test_probabilities_do_not_depend_on_the_order_of_hashes():
    """A set's order differs between processes, and the last bit of a sum with it."""
    code = (
        "from data.language_id.combined import CombinedIdentifier\n"
        f"print(CombinedIdentifier().identify({ENGLISH!r}).probability.hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
