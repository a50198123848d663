"""The rule sets by name; their fields are what differs between them.

The order is the same for all and is the reference's (TensorFlow Datasets): length, one page per
address, lines, one page per line, language, bad words, split. Lengths are in characters.

`mc4` follows version 3.1.0 of the reference and `c4-en` its English C4. `mc4-3.0.1` is the older
corpus that mT5 was trained on; its random choice among pages of one address is not reproduced.
`none` has no rules: published corpora pass through unchanged.
"""

import enum
from dataclasses import dataclass

from data.errors import DataError
from data.rules import bad_words
from data.rules.bad_words import BadWordPolicy
from data.rules.held_out import AsPublished, OneIn, ShareOfEachLanguage, ShareOfUnsplitPages

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


def named(name: str) -> RuleSet | Untouched:
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
