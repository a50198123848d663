"""Pages of made-up words in the letters of a language, planted so that their similarity is known.

A word is drawn from 2,000 made-up ones, the frequent ones more often; no text of anybody is used.
Each family is the hard case of one mistake:

* chain: windows that slide over one text; neighbours are alike, ends are not.
* template: a common frame around different content.
* excerpts: parts of a longer page, with and without words of their own.
* copies: a page with some words changed, each kept or removed by its similarity alone.
"""

import functools

import numpy as np

from data import languages
from data.dedup.minhash import SHINGLE_WORDS, shingle_length
from data.scripts import characters_with

_BY_SCRIPT = {language.script: language.code for language in languages.all_languages()}
_LARGEST = [language.code for language in languages.all_languages()[:20]]
LANGUAGES = sorted({*_BY_SCRIPT.values(), *_LARGEST})  # every script is there
LETTERS = {
    "Hans": r"[\u4e00-\u5fff]",
    "Jpan": r"[\p{sc=Hira}\u4e00-\u4fff&&\p{L}]",
    "Kore": r"[\uac00-\ubfff]",
}
VOCABULARY = 2000
Words = np.ndarray


class PlantedPages:
    """Makes pages of one language.

    Attributes:
        language: code of the language.
    """

    def __init__(self, language: str, seed: int = 0) -> None:
        self.language = language
        self._generator = np.random.default_rng([seed, *language.encode()])
        self._vocabulary = _vocabulary(language)
        self._spaced = shingle_length(language) == SHINGLE_WORDS
        self._new = 0

    def words(self, count: int) -> Words:
        """Returns random words, frequent ones more often."""
        place = self._generator.random(count) ** 3 * VOCABULARY
        return self._vocabulary[place.astype(int)]

    def text(self, words: Words) -> str:
        """Returns a page of these words, ten per line."""
        join = (" " if self._spaced else "").join
        return "\n".join(join(words[i : i + 10]) for i in range(0, len(words), 10))

    def changed(self, words: Words, share: float) -> Words:
        """Returns a copy in which some words are others."""
        copy = words.copy()
        places = self._generator.random(len(words)) < share
        copy[places] = self.words(int(places.sum()))
        return copy

    def chain(self, windows: int, size: int = 120, step: int = 8) -> list[str]:
        """Returns windows over one text, each `step` words further."""
        words = self.words(size + step * windows)
        return [self.text(words[step * i : step * i + size]) for i in range(windows)]

    def template(self, pages: int, frame: int = 90, content: int = 15) -> list[str]:
        """Returns pages with the same words around different ones."""
        head, foot = self.words(frame), self.words(frame // 2)
        middles = [self.words(content) for _ in range(pages)]
        return [self.text(np.concatenate((head, middle, foot))) for middle in middles]

    def excerpts(self, parts: int, size: int = 240) -> list[str]:
        """Returns a page, parts with 95 to 40 % of its words, and each with words of its own."""
        words = self.words(size)
        sizes = np.linspace(0.95 * size, 0.4 * size, parts).astype(int)
        alone = [words[: int(count)] for count in sizes]
        with_own = [np.concatenate((part, self.words(len(part) // 6))) for part in alone]
        return [self.text(part) for part in (words, *alone, *with_own)]

    def copies(self, copies: int, most: float = 0.1, size: int = 150) -> list[str]:
        """Returns a page and copies of it with more and more words changed."""
        words = self.words(size)
        shares = np.linspace(0, most, copies)
        return [self.text(words), *(self.text(self.changed(words, share)) for share in shares)]

    def all_families(self) -> list[str]:
        """Returns some 60 pages of all families, mixed."""
        pages = [
            *self.chain(12),
            *self.chain(6, step=2),
            *self.template(6),
            *self.template(6, content=40),
            *self.excerpts(5),
            *self.copies(12),
            self.text(self.words(3)),
            "",
        ]
        return [pages[i] for i in self._generator.permutation(len(pages))]


@functools.cache
def _vocabulary(language: str) -> Words:
    generator = np.random.default_rng(list(language.encode()))
    script = languages.get(language).script
    letters = LETTERS.get(script, rf"[\p{{sc={script}}}&&[\p{{Ll}}\p{{Lo}}]]")
    letters = np.array([chr(code) for code in characters_with(letters)[:200].tolist()])
    lengths = generator.integers(2, 9, VOCABULARY)
    return np.array(["".join(generator.choice(letters, length)) for length in lengths])
