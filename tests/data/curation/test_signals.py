"""Signals equal plain Python's, one page at a time, in many scripts."""

import itertools

import plain_quality
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.curation.signals import SIGNALS, signals
from data.curation.words import cut_words, joined_pages

LANGUAGES = (
    "en",
    "de",
    "fr",
    "id",
    "es",
    "ru",
    "ar",
    "hi",
    "ur",
    "am",
    "ka",
    "zh",
    "ja",
    "th",
    "my",
    "bo",
)
# Letters of many scripts, marks of every kind, and white space of every kind.
LETTERS = "aabBçÉиДαءםहिতமతನකአგհ한中のカิไກກ္မकཀ་"
MARKS = "....,,;:!?()'’\"“”-–—~/=<>+*^%$€#@_\\|…•§°²।॥。،؟።፡၊་🙂\u200b\u0301"
DIGITS = "0179٣१"
SPACES = " \n\n\n\t\r\x0b\x1c\x85\xa0\u2028\u3000"
TEXTS = st.text(LETTERS + MARKS + DIGITS + SPACES + "  ", max_size=60)
PIECES = (
    "a b", "x@y.de/c-d", "http://a.b/c-d:e", "Da ist", "a.", "…", "...", "- x", "• y", "हिंदी है।",
    "文。字", "\n", "\n\n", "A.B.", "it's", "don't", "we'll,", "I'm", "''a''", "64-bit", " ",
)  # fmt: skip
SENTENCES = st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join)
LANGUAGE = st.sampled_from(LANGUAGES)


def cut(texts: list[str], language: str) -> list[list[str]]:
    found = cut_words(joined_pages(texts), language)
    codes = "".join(map(chr, found.codes.tolist()))
    begins = found.begins.tolist()
    pieces = [codes[a:b] for a, b in itertools.pairwise(begins)]
    return [pieces[a:b] for a, b in itertools.pairwise(found.offsets)]


@settings(max_examples=150)
@given(language=LANGUAGE, texts=st.lists(TEXTS | SENTENCES, max_size=4))
@example(
    language="en",
    texts=["(Hello,\" she... said. U.S. 3.5% $4 5€ it's l'eau state-of-the-art a,b a.B 1+2 a/b"],
)
@example(
    language="fr", texts=["l'eau 's . .. a...b ...a $. ¿Qué? AB. a. (a.) x@y.de/a-b a://b/c-d"]
)
def test_words_are_those_of_the_plain_rules(language: str, texts: list[str]) -> None:
    assert cut(texts, language) == [plain_quality.words(text, language) for text in texts]


@settings(max_examples=150)
@given(language=LANGUAGE, texts=st.lists(TEXTS | SENTENCES, max_size=4))
@example(
    language="en",
    texts=["a b\r\nc\r", "\r", "\n", "", " \u2028...", "a\n\na\n\na", "- a\n…\n. . ."],
)
@example(language="en", texts=["one two three four five six seven\n" * 12])
@example(language="th", texts=["นี่คือการทดสอบ " * 20, "ab " * 40])
def test_signals_are_those_of_plain_python(language: str, texts: list[str]) -> None:
    found = signals(texts, language)
    assert found.schema == SIGNALS
    for text, row in zip(texts, found.to_pylist(), strict=True):
        words = dict(zip(row.pop("common_words"), row.pop("common_word_counts"), strict=True))
        assert row == pytest.approx(plain_quality.signals(text, language), rel=1e-6, abs=1e-7)
        assert list(words.items()) == list(plain_quality.common_words(text, language).items())


def test_no_page_depends_on_its_neighbours() -> None:
    texts = ["Ein Satz, der lang ist. " * 40, "", "zwei\nzwei", "x " * 300_000, "…"]
    alone = [signals([text], "de").to_pylist()[0] for text in texts]
    assert signals(texts, "de").to_pylist() == alone


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_pages_have_no_rows(language: str) -> None:
    assert signals([], language).num_rows == 0
    assert signals([], language).schema == SIGNALS


def test_every_script_without_spaces_is_counted_by_its_content() -> None:
    """Parallel sentences have about as many words in every language."""
    sentences = {
        "en": "All human beings are born free and equal in dignity and rights.",
        "zh": "人人生而自由,在尊严和权利上一律平等。",
        "ja": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
        "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
        "lo": "ມະນຸດທຸກຄົນເກີດມາມີສິດເສລີພາບ ແລະ ສະເໝີໜ້າກັນໃນທາງກຽດຕິສັກ ແລະ ທາງສິດດ້ວຍມະໂນທຳ",
        "km": "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។",
        "my": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ တူညီလွတ်လပ်သော အခွင့်အရေးများဖြင့် လည်းကောင်း၊",
    }
    for language, text in sentences.items():
        assert 8 <= signals([text], language)["words"][0].as_py() <= 20, language
