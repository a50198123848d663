"""Lists of bad words: what they match, in which languages, and how they are read."""

import pickle

import pytest

from data.errors import DataError
from data.reading.page import Page
from data.rules.bad_words import BadWordRule, hard, of_mc4_3_0_1, read, soft

WORDS = {
    "en": frozenset({"zounds", "a$$hat"}),
    "hi": frozenset({"गड़बड़"}),
    "ja": frozenset({"馬鹿", "グロ"}),
    "zh": frozenset({"性"}),
}


@pytest.mark.parametrize(
    "language, listed, others",
    [
        ("en", ["O Zounds, he said", "zounds", "you a$$hat!"], ["zoundsy"]),
        ("sw", [], ["zounds"]),
        ("und", [], ["zounds"]),
        ("hi-Latn", ["यह गड़बड़ है"], []),
        ("ja", ["彼は馬鹿だ"], ["グロい"]),
        ("zh", [], ["性格"]),
    ],
)
def test_words_count_in_their_language(language, listed, others):
    rule = pickle.loads(pickle.dumps(BadWordRule(WORDS, hard())))
    reasons = [rule(Page("a.example", text, language=language)) for text in [*listed, *others]]
    assert reasons == ["bad_words"] * len(listed) + [None] * len(others)


def test_before_3_1_0_japanese_needed_spaces_and_no_word_was_allowed():
    rule = BadWordRule(WORDS, of_mc4_3_0_1())
    pages = [("ja", "彼は馬鹿だ"), ("ja", "彼は 馬鹿 だ"), ("zh", "性格")]
    reasons = [rule(Page("a.example", text, language=language)) for language, text in pages]
    assert reasons == [None, "bad_words", "bad_words"]


def test_softly_one_page_in_a_thousand_stays():
    rule, page = BadWordRule(WORDS, soft()), Page("", "zounds", language="en")
    urls = (f"https://a.example/{number}" for number in range(10_000))
    assert 3 < sum(rule(page._replace(url=url)) is None for url in urls) < 20


def test_lists_are_read_by_language(tmp_path):
    files = {"en": "zounds\n\n", "fr": "un\n", "fr-CA-u-sd-caqc": "deux\n", "he": "x\n",
             "README.md": "words\n", "LICENSE": "words\n"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig" if name == "en" else "utf-8")
    assert read(tmp_path) == {"en": {"zounds"}, "fr": {"un", "deux"}, "iw": {"x"}}


@pytest.mark.parametrize(
    "content, reason",
    [
        (None, "holds none"),
        (b"caf\xe9", "should be UTF-8"),
        (b"", "no word in lower case"),
        (b"Zounds\n", "no word in lower case"),
    ],
)
def test_lists_that_match_nothing_are_refused(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "en").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read(tmp_path if content is not None else tmp_path / "nowhere")
