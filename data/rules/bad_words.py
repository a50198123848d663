"""Rejects pages with words from the user's lists, one file per language (LDNOOBW).

As in C4 (TensorFlow Datasets), the text is lower-cased. A word matches between characters that are
not letters or digits, and anywhere in languages written without spaces. A script variant and a
regional list belong to the language that their name begins with: `hi-Latn` uses `hi`, and
`fr-CA-u-sd-caqc` extends `fr`. A share of the pages found is kept, by the hash of their address.

One difference: blank lines in a list are skipped. In the reference they match every page. As there,
words are not lower-cased, so one with a capital never matches.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.languages import find
from data.reading.page import Page
from data.urls import normalized_hash, number

LIST_NAME = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9-]+)?")


@dataclass(frozen=True, kw_only=True)
class BadWordPolicy:
    """How the lists apply.

    Attributes:
        removed_share: share of the pages with a bad word that is rejected.
        unspaced: languages in which a word also matches inside others.
        allowed: words on the lists that are ignored, by language.
    """

    removed_share: float
    unspaced: frozenset[str]
    allowed: Mapping[str, frozenset[str]]

    def __str__(self) -> str:
        return f"{self.removed_share:.1%} of the pages with a word from the list of their language"


UNSPACED = frozenset({"ja", "th", "zh"})
COMMON_SUBWORDS = {"ja": frozenset({"sm", "グロ", "女の子"}), "zh": frozenset({"性"})}


def hard() -> BadWordPolicy:
    """Returns C4's policy: every page with a bad word is rejected."""
    return BadWordPolicy(removed_share=1.0, unspaced=UNSPACED, allowed=COMMON_SUBWORDS)


def soft() -> BadWordPolicy:
    """Returns mC4's policy: one page in a thousand with a bad word is kept."""
    return BadWordPolicy(removed_share=0.999, unspaced=UNSPACED, allowed=COMMON_SUBWORDS)


def of_mc4_3_0_1() -> BadWordPolicy:
    """Returns the policy before 3.1.0: Japanese needs spaces, no word is allowed, none is kept."""
    return BadWordPolicy(removed_share=1.0, unspaced=frozenset({"th", "zh"}), allowed={})


def read(directory: Path) -> dict[str, frozenset[str]]:
    """Returns the words of each language.

    Raises:
        DataError: if the directory holds no list, or one that is not UTF-8 or matches nothing.
    """
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    lists = [path for path in paths if path.is_file() and LIST_NAME.fullmatch(path.name)]
    if not lists:
        raise DataError(
            f"Lists of bad words were asked for in {directory}, which holds none; give a "
            "directory with one file per language, named by its code (en, de, fr-CA-u-sd-caqc), "
            "with one word per line."
        )
    words: dict[str, set[str]] = defaultdict(set)
    for path in lists:
        language = _list_language(path.name)
        listed = set(filter(None, map(str.strip, _read_list(path).split("\n"))))
        if not any(word == word.lower() for word in listed):
            raise DataError(
                f"List of bad words {path} has no word in lower case, so it matches no page; give "
                "one word per line, or remove the file."
            )
        words[language].update(listed)
    return {language: frozenset(listed) for language, listed in words.items()}


class BadWordRule:
    """The rule for one policy and one set of lists; it can be pickled."""

    def __init__(self, words: Mapping[str, frozenset[str]], policy: BadWordPolicy):
        self._patterns = {
            language: _pattern(counted, spaced=language not in policy.unspaced)
            for language, listed in words.items()
            if (counted := listed - policy.allowed.get(language, frozenset()))
        }
        self._removed, self._of = policy.removed_share.as_integer_ratio()

    def __call__(self, page: Page) -> str | None:
        """Rejects pages with a bad word, except for the share that is kept."""
        pattern = self._patterns.get(page.language.split("-")[0])
        if pattern is None or pattern.search(page.text.lower()) is None:
            return None
        is_kept = number(normalized_hash(page.url)) % self._of >= self._removed
        return None if is_kept else "bad_words"


def _pattern(words: frozenset[str], *, spaced: bool) -> re.Pattern[str]:
    alternatives = "|".join(map(re.escape, sorted(words)))
    return re.compile(rf"(?:\W|^)({alternatives})(?:\W|$)" if spaced else alternatives)


def _list_language(name: str) -> str:
    code = name.split("-")[0]
    language = find(code)
    return code if language is None else language.code


def _read_list(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # a byte-order mark is not part of a word
    except UnicodeDecodeError as error:
        raise DataError(
            f"List of bad words {path} should be UTF-8 and is not ({error}); convert it."
        ) from error
