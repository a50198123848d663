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


def page(text: str, language: str = "en", url: str = "https://a.example/") -> Page:
    return Page(url, text, language=language)


@pytest.mark.parametrize(
    "text, language, reason",
    [
        ("O Zounds, he said", "en", "bad_words"),
        ("zounds", "en", "bad_words"),
        ("you a$$hat!", "en", "bad_words"),
        ("zoundsy", "en", None),
        ("zounds", "sw", None),
        ("zounds", "und", None),
        ("यह गड़बड़ है", "hi-Latn", "bad_words"),
        ("彼は馬鹿だ", "ja", "bad_words"),
        ("グロい", "ja", None),
        ("性格", "zh", None),
    ],
)
def test_words_count_in_their_language(text, language, reason):
    assert pickle.loads(pickle.dumps(BadWordRule(WORDS, hard())))(page(text, language)) == reason


def test_before_3_1_0_japanese_needed_spaces_and_no_word_was_allowed():
    rule = BadWordRule(WORDS, of_mc4_3_0_1())
    assert rule(page("彼は馬鹿だ", "ja")) is None
    assert rule(page("彼は 馬鹿 だ", "ja")) == "bad_words"
    assert rule(page("性格", "zh")) == "bad_words"


def test_softly_one_page_in_a_thousand_stays():
    rule = BadWordRule(WORDS, soft())
    urls = (f"https://a.example/{number}" for number in range(20_000))
    stayed = sum(rule(page("zounds", url=url)) is None for url in urls)
    assert 5 < stayed < 45


def test_lists_are_read_by_language(tmp_path):
    files = {"en": "zounds\n\n", "fr": "un\n", "fr-CA-u-sd-caqc": "deux\n", "he": "x\n",
             "README.md": "words\n", "LICENSE": "words\n"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig" if name == "en" else "utf-8")
    assert read(tmp_path) == {"en": {"zounds"}, "fr": {"un", "deux"}, "iw": {"x"}}


def test_no_lists_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds none; give a directory"):
        read(tmp_path / "nowhere")
    (tmp_path / "en").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="should be UTF-8"):
        read(tmp_path)
    for text in ("", "Zounds\n"):
        (tmp_path / "en").write_text(text)
        with pytest.raises(DataError, match="has no word in lower case"):
            read(tmp_path)
