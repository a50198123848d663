"""The rule sets by name: mC4 and C4, which are exact, and `mswitch-web`, for every script.

**The exact ones** differ in their fields alone. The order is the same for all and is the
reference's (TensorFlow Datasets): length, one page per address, lines, one page per line, language,
bad words, split. Lengths are in characters.

`mc4` follows version 3.1.0 of the reference and `c4-en` its English C4. `mc4-3.0.1` is the older
corpus that mT5 was trained on; its random choice among pages of one address is not reproduced.
`none` has no rules: published corpora pass through unchanged.

**`mswitch-web`** has an order of its own, as each step needs the previous ones:

1. length                      as in mC4
2. one page per address        as in mC4
3. lines                       C4's line rules in every script (`web_lines`)
4. long lines                  mC4's 3 lines of 200 characters, weighted by script
5. language                    CLD2 and CLD3 together (`language_id.combined`); a threshold per
                               language (`language_id.thresholds`), from a first pass over all pages
6. near-duplicates             a page that is similar to one that stays leaves
                               (`dedup.near_duplicates`); before step 7, which would leave stubs of
                               copies that are no longer similar
7. one page per line           lines are compared by `line_dedup.unicode_line_hashes`
8. long lines left             step 4 again, as C4 counts its sentences again
9. bad words                   as in mC4, if lists are given
10. split                      a share of each language, and a minimum

After step 7 every line is in one page, so no held-out page shares a line with a training page.
After step 6 no page is a near-duplicate of one that it was compared with (those of its group).
"""

import enum
from dataclasses import dataclass

from data.dedup.line_dedup import LineHashes, unicode_line_hashes
from data.errors import DataError
from data.language_id import thresholds
from data.language_id.thresholds import MedianLessDeviation
from data.rules import bad_words
from data.rules.bad_words import BadWordPolicy
from data.rules.held_out import (
    AsPublished,
    OneIn,
    ShareOfEachLanguage,
    ShareOfUnsplitPages,
    share_of_each_language,
)

UNTOUCHED = "none"  # name of the rule set that has no rules


class LanguageBy(enum.Enum):
    """The source of a page's language."""

    CLD3 = "CLD3's answer"
    LANGDETECT = "English or nothing, by langdetect's answer"
    DECLARATION = "the archive's declaration, with CLD3's answer counted beside it"


@dataclass(frozen=True)
class LongLines:
    """A page needs `lines` lines of at least `characters` characters; no line is removed."""

    lines: int
    characters: int

    def __str__(self) -> str:
        noun = "line" if self.lines == 1 else "lines"
        return f"{self.lines} {noun} of at least {self.characters} characters"


@dataclass(frozen=True)
class EnglishLines:
    """C4's rules for the lines of English pages."""

    def __str__(self) -> str:
        return "3 sentences in lines that C4's rules for English keep"


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """One way of cleaning.

    Attributes:
        name: name on the command line.
        lines: rules for a page's lines.
        language_by: source of the page's language.
        certain_probability: threshold of the language's probability.
        bad_words: policy for the user's lists of bad words; None if they are not allowed.
        held_out: rule for held-out pages.
    """

    name: str
    lines: LongLines | EnglishLines
    language_by: LanguageBy
    certain_probability: float
    bad_words: BadWordPolicy | None
    held_out: OneIn | ShareOfEachLanguage


@dataclass(frozen=True, kw_only=True)
class Untouched:
    """No rules: pages keep their text, their declared language and their published split."""

    name: str
    held_out: AsPublished | ShareOfUnsplitPages


def mc4() -> RuleSet:
    """Returns the rules of mC4 3.1.0."""
    return RuleSet(
        name="mc4",
        lines=LongLines(3, 200),
        language_by=LanguageBy.CLD3,
        certain_probability=0.95,
        bad_words=bad_words.soft(),
        held_out=OneIn(1000),
    )


def mc4_3_0_1() -> RuleSet:
    """Returns the rules of mC4 3.0.1, with a lower threshold for CLD3."""
    return RuleSet(
        name="mc4-3.0.1",
        lines=LongLines(3, 200),
        language_by=LanguageBy.CLD3,
        certain_probability=0.70,
        bad_words=bad_words.of_mc4_3_0_1(),
        held_out=OneIn(1000),
    )


def c4_en() -> RuleSet:
    """Returns the rules of C4, which is English only."""
    return RuleSet(
        name="c4-en",
        lines=EnglishLines(),
        language_by=LanguageBy.LANGDETECT,
        certain_probability=0.99,
        bad_words=bad_words.hard(),
        held_out=OneIn(1000),
    )


def demo() -> RuleSet:
    """Returns rules under which the demo's short texts survive in all 101 languages.

    mC4's rules would leave 54 of the languages, and held-out pages in almost none. One line of 10
    characters is a clause in Chinese.
    """
    return RuleSet(
        name="demo",
        lines=LongLines(1, 10),
        language_by=LanguageBy.DECLARATION,
        certain_probability=0.95,
        bad_words=None,
        held_out=ShareOfEachLanguage(share=0.12, minimum=2, maximum=64),
    )


def none() -> Untouched:
    """Returns no rules."""
    return Untouched(name=UNTOUCHED, held_out=AsPublished(otherwise=OneIn(1000)))


def find_rule_set(name: str) -> RuleSet | Untouched:
    """Returns the rule set with this name.

    Raises:
        DataError: if there is no such rule set.
    """
    sets = {rules.name: rules for rules in (mc4(), mc4_3_0_1(), c4_en(), demo(), none())}
    if name not in sets:
        raise DataError(f"Rule set {name!r} was asked for; there are {', '.join(sets)}.")
    return sets[name]


def differences_from_mc4(rules: RuleSet) -> list[str]:
    """Returns a sentence for each respect in which the rules are not mC4's."""
    reference = mc4()
    described = {
        "A page needs {}": (rules.lines, reference.lines),
        "A page's language is {}": (rules.language_by.value, reference.language_by.value),
        "The answer counts from probability {}": (
            f"{rules.certain_probability:.2f}",
            f"{reference.certain_probability:.2f}",
        ),
        "Lists of bad words remove {}": (rules.bad_words or "nothing", reference.bad_words),
        "Held out are {}": (rules.held_out, reference.held_out),
    }
    return [
        f"{sentence.format(here)} (mC4: {there})."
        for sentence, (here, there) in described.items()
        if str(here) != str(there)
    ]


@dataclass(frozen=True, kw_only=True)
class WebRuleSet:
    """Rules for web pages of every script.

    Attributes:
        name: name on the command line.
        long_lines: number and weighted length of the lines that a page needs.
        certainty: rule for the threshold of each language.
        line_hashes: function from a text to the hashes by which its lines are compared.
        bad_words: policy for the user's lists of bad words.
        held_out: rule for held-out pages.
    """

    name: str
    long_lines: LongLines
    certainty: MedianLessDeviation
    line_hashes: LineHashes
    bad_words: BadWordPolicy
    held_out: ShareOfEachLanguage


def mswitch_web() -> WebRuleSet:
    """Returns the rules, with mC4's share of held-out pages but at least ten per language."""
    return WebRuleSet(
        name="mswitch-web",
        long_lines=LongLines(3, 200),
        certainty=thresholds.fineweb2(),
        line_hashes=unicode_line_hashes,
        bad_words=bad_words.soft(),
        held_out=share_of_each_language(0.001, minimum=10),
    )


def web_differences_from_mc4(rules: WebRuleSet) -> list[str]:
    """Returns a sentence for each respect in which the rules are not mC4's."""
    return [
        "Lines with fewer than 5 words or no end mark of their script are removed (mC4: none are).",
        f"A page needs {rules.long_lines}, weighted by script, before and after deduplication "
        "(mC4: not weighted, only before).",
        "CLD2 and CLD3 decide together; text in no language is rejected (mC4: CLD3 alone).",
        f"The threshold of a language is {rules.certainty} (mC4: 0.95).",
        "Near-duplicates of a kept page in the same language are removed (mC4: all are kept).",
        "Lines are equal up to Unicode composition, white space and case (mC4: up to case).",
        f"Held out are {rules.held_out} (mC4: one page in 1000, by the hash of its address).",
    ]
