"""CLD2, CLD3 and a fastText model together; and what they are asked for: scripts, noise, CLD3."""

import base64
import itertools
import math
import os
import random
import subprocess
import sys
import unicodedata

import gflanguages
import pytest
from declarations import HEBREW, SIX_LANGUAGES, SWAHILI, YORUBA
from hypothesis import given
from hypothesis import strategies as st

from data.demo import shipped_pages
from data.language_id import opinions
from data.language_id.cld3 import identifier
from data.language_id.combined import CombinedIdentifier, combine, is_no_language, page_characters
from data.language_id.fasttext import FastTextIdentifier
from data.language_id.opinions import Opinion, is_usually_written_in, is_written_in
from data.scripts import code_points


def counted(text: str):
    return page_characters(code_points(text))


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_letters_digits_and_printed_characters_are_unicodes(text):
    found = counted(text)
    kinds = [unicodedata.category(one) for one in text]
    # Letters that the `regex` package knows and this Python does not are unassigned here.
    unassigned = kinds.count("Cn")
    letters = sum(kind[0] in "LM" for kind in kinds)
    assert letters <= found.letters <= letters + unassigned
    numbers = sum(kind[0] == "N" for kind in kinds)
    assert numbers <= found.digits <= numbers + unassigned
    spaces = sum(one.isspace() or kind == "Cf" for one, kind in zip(text, kinds, strict=True))
    # str.isspace also holds for four separators, U+001C to U+001F.
    separators = sum("\x1c" <= one <= "\x1f" for one in text)
    assert len(text) - spaces <= found.printed <= len(text) - spaces + separators + unassigned


def test_main_scripts_are_those_of_a_third_of_the_letters():
    scripts = {
        "Habari za asubuhi": "Latn", "Добро јутро": "Cyrl", "日本語のテキスト": "Jpan",
        "我们支持 Firefox": "Hans Latn", "Nano는 하드웨어 지갑이며": "Kore", "कखग": "Deva",
        "ꦱꦧꦼꦤ꧀": "Java", "ᏣᎳᎩ": "Zyyy", "Установите apt и dpkg": "Cyrl Latn", "123 ?!": "", "": "",
        # A Han letter is worth three.
        "我们支持浏览器" + " a" * 42: "Latn Hans", "我们支持浏览器" + " a" * 43: "Latn",
    }  # fmt: skip
    assert {text: " ".join(counted(text).scripts) for text in scripts} == scripts


def test_punctuation_of_every_script_is_no_symbol():
    prose = 'Он сказал: «Да!» — „ja“… ¿Qué? 「はい」、そうです。 हाँ। نعم، لا؟ እሺ፡ በል። "ok" (so)'
    assert counted(prose).symbols == 0
    assert counted("{a[0] += b * c & d}").symbols == 8


DRAW = random.Random(0)
RUSSIAN = "Все люди рождаются свободными и равными в своём достоинстве и правах."


def no_language(text: str) -> bool:
    points = code_points(text)
    return is_no_language(points, page_characters(points))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(base64.b64encode(DRAW.randbytes(57)).decode() for _ in range(5)),
        "\n".join(DRAW.randbytes(32).hex() for _ in range(5)),
        "\n".join(f"{DRAW.random():.3f}\t{DRAW.random():.3f}" for _ in range(9)),
        "\n".join(f"https://example.org/{DRAW.randbytes(12).hex()}" for _ in range(5)),
        RUSSIAN.encode().decode("latin-1"),
        HEBREW.encode().decode("cp1252", "replace"),
        "for(;;){x[i]=*(p+i)&0xff;if(!x[i])break;}" * 3,
        "-=[ :::: ]=- | +---+ | *** |",
    ],
    ids=["base64", "digests", "numbers", "addresses", "mojibake", "cp1252", "code", "drawing"],
)
def test_noise_is_no_language(text):
    assert no_language(text)


def test_prose_is_a_language_also_with_addresses_and_numbers():
    address = " https://example.org/2026/11/27/habari-za-leo.html?kurasa=2"
    numbers = " Mwaka 2026: watu 1,234,567 (asilimia 12.5)."
    texts = [SWAHILI, HEBREW, YORUBA, RUSSIAN, "", SWAHILI + address, SWAHILI + numbers]
    assert not any(map(no_language, texts))


def test_no_shipped_page_of_any_language_is_noise():
    """UDHR passages and short interface messages, which have few letters beside their marks."""
    pages = [page for page in shipped_pages() if len(page.text) > 100]
    assert len(pages) > 1000
    assert [page.url for page in pages if no_language(page.text)] == []


def test_a_process_with_tensorflow_is_refused_and_not_crashed():
    code = "import sys; sys.modules['tensorflow'] = sys; import data.language_id.cld3"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not import TensorFlow" in done.stderr


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
CLD2, CLD3 = opinions.cld2_confusions(), opinions.cld3_confusions()
OPINIONS = st.builds(
    Opinion,
    st.sampled_from([CLD2, CLD3, opinions.fasttext_confusions(["sw", "en", "uz"])]),
    st.sampled_from(["und", "sw", "vi", "yo", "ms", "id", "uz", "hr", "zxx", "oc"]),
    st.floats(0, 1),
)


@pytest.fixture(scope="module")
def combined() -> CombinedIdentifier:
    return CombinedIdentifier()


def test_cld3_alone_is_certain_and_takes_toned_yoruba_for_vietnamese():
    cld3 = identifier(None)
    texts = [SWAHILI, SWAHILI + "\ud800", HEBREW, YORUBA, "", "Habari", "Habari za asubuhi. " * 9]
    codes = ["sw", "sw", "iw", "vi", "und", "und", "und"]
    assert [cld3.identify(text).language_above(0.95) for text in texts] == codes
    assert isinstance(identifier(str(SIX_LANGUAGES)), FastTextIdentifier)


@pytest.mark.parametrize(
    "text, language, by_cld3",
    [
        (SWAHILI, "sw", "sw"), (HEBREW, "iw", "iw"), (YORUBA, "yo", "vi"), (CHINESE, "zh", "mr"),
        (IN_CYRILLIC, "uz", "tg"),
    ],
)  # fmt: skip
def test_they_decide_rightly_together(combined, text, language, by_cld3):
    found = combined.identify(text)
    assert found.language == language
    assert 0.5 < found.probability <= 1
    assert identifier(None).identify(text).language == by_cld3


def test_scripts_of_one_language_noise_and_short_text_are_decided(combined):
    texts = {JAVANESE: "jv", "4f5a" * 40: "zxx", "": "und", "qxj vvk zzrt pqw": "und"}
    assert {text: combined.identify(text).language for text in texts} == texts


def test_cld3_is_not_asked_where_it_could_only_agree(combined):
    samples = gflanguages.LoadLanguages()
    greek = combined.answers(samples["el_Grek"].sample_text.specimen_16, None)
    assert (greek.combined.language, greek.cld3) == ("el", None)
    assert combined.answers(samples["hr_Latn"].sample_text.specimen_16, None).cld3 is not None


def test_a_fasttext_model_decides_with_them():
    with_model = CombinedIdentifier(str(SIX_LANGUAGES))
    swahili, other = (with_model.answers(text, None) for text in (SWAHILI, CHINESE))
    assert swahili.fasttext is not None
    assert (swahili.fasttext.language, swahili.combined.language) == ("sw", "sw")
    assert other.fasttext is not None
    assert other.fasttext.language in ("sw", "iw", "hi", "en", "vi", "yo", "und")
    assert other.combined.language == "zh"


@given(st.lists(OPINIONS, max_size=3), st.sampled_from(SCRIPTS))
def test_the_decision_is_the_best_of_all_rated_languages(opinions, scripts):
    found = combine(opinions, scripts)
    ratings = all_ratings(opinions, scripts)
    assert ratings[found.language] == pytest.approx(max(ratings.values()))
    assert found.probability == pytest.approx(max(ratings.values()) / sum(ratings.values()))
    for other in itertools.permutations(opinions):
        assert combine(other, scripts).probability == pytest.approx(found.probability)


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


def test_probabilities_do_not_depend_on_the_order_of_hashes(combined):
    """A set's order differs between processes, and the last bit of a sum with it."""
    code = (
        "from data.language_id.combined import CombinedIdentifier\n"
        f"print(CombinedIdentifier().identify({ENGLISH!r}).probability.hex())"
    )
    found = {combined.identify(ENGLISH).probability.hex()}
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        found.add(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True))
    assert len(set(map(str.strip, found))) == 1
