"""C4's line rules (T5 paper, section 2.2; `clean_page` in TensorFlow Datasets), for English only.

Lines are tested in order, and the first test that a line fails counts. Two tests reject the whole
page at once; the lines after it are not tested. A brace in a line that an earlier test removes does
not reject the page:

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
"""

import re
from collections import Counter

from data.reading.page import Page
from data.rules import sentences
from data.rules.cleaned_lines import Cleaned

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


def clean(text: str) -> Cleaned:
    """Applies the line rules to a page's text."""
    removed: Counter[str] = Counter()
    kept: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if _has_long_word(line):
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
    reason = "too_few_sentences" if _too_few(kept) else None
    return Cleaned("\n".join(kept).strip(), removed, reason)


def too_few_sentences_left(page: Page) -> str | None:
    """Rejects pages that have fewer than three sentences after line deduplication."""
    too_few = sentences.are_fewer_than(FEWEST_SENTENCES, page.text)
    return "too_few_sentences_left" if too_few else None


def _has_long_word(line: str) -> bool:
    return len(line) > LONGEST_WORD_CHARACTERS and LONG_WORD.search(line) is not None


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


def _too_few(lines: list[str]) -> bool:
    """Returns whether kept lines have too few sentences; each has one, so most are not counted."""
    return len(lines) < FEWEST_SENTENCES and sum(map(sentences.count, lines)) < FEWEST_SENTENCES
