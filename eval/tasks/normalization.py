"""Answers as they are compared: by the rules of SQuAD, or by those of MLQA for each language.

SQuAD: lower case, without ASCII punctuation and English articles.

MLQA: lower case, without punctuation of all scripts and without the articles of the language. Its
rules are kept to the letter, so that scores compare with published ones: the Vietnamese "articles"
are also classifiers and a preposition, and the Arabic one is removed anywhere in a word. Each Han
character from U+4E00 to U+9FA5 is a word in Chinese.

MLQA has seven languages. In the others both texts go through NFKC first, as predictions already
have (`as_decoded`); no article is removed, and each character is a word where spaces do not
separate words (`data.scripts.UNSPACED_SET`), as in Chinese.

Sources: evaluate-v1.1.py (Rajpurkar et al. 2016); mlqa_evaluation_v1.py (Lewis et al. 2020).
"""

import re
import string
import unicodedata

import regex

from data.scripts import UNSPACED_SET, with_short_runs

ARTICLES = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "vi": "của là cái chiếc những",
    "de": "ein eine einen einem eines einer der die das den dem des",
}
ARABIC_ARTICLE = "ال"
HAN = regex.compile("[\u4e00-\u9fa5]")
UNSPACED = regex.compile(UNSPACED_SET, flags=regex.V1)
MLQA = frozenset({"ar", "de", "en", "es", "hi", "vi", "zh"})


def as_decoded(text: str) -> str:
    """Returns a text as a SentencePiece vocabulary gives it back: by NFKC, with single spaces.

    Answers are compared like that: no network can write Thai "\u0e33", "²" or "…" in another form.
    Marks beyond 30 in a row are dropped, as in `data.scripts`.
    """
    return " ".join(unicodedata.normalize("NFKC", with_short_runs(text)).split())


def squad_words(text: str) -> list[str]:
    """Returns the words of an answer as SQuAD compares them."""
    text = "".join(one for one in text.lower() if one not in string.punctuation)
    return _without_articles(text, "en").split()


def mlqa_words(text: str, language: str) -> list[str]:
    """Returns the words of an answer as MLQA compares them.

    Args:
        text: the answer.
        language: mC4's code of its language.
    """
    text = text if language in MLQA else as_decoded(text)
    text = "".join(one for one in text.lower() if not _is_punctuation(one))
    text = _without_articles(text, language)
    if language == "zh" or language not in MLQA:
        text = (HAN if language == "zh" else UNSPACED).sub(r" \g<0> ", text)
    return text.split()


def _without_articles(text: str, language: str) -> str:
    if language == "ar":
        return text.replace(ARABIC_ARTICLE, " ")
    if language not in ARTICLES:
        return text
    return re.sub(rf"\b({'|'.join(ARTICLES[language].split())})\b", " ", text)


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character)[0] == "P"
