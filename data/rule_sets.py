"""The rule sets by name: what is done to a page, in the fields in which the sets differ.

The order is the same for all and is mC4's: length, one page an address, long lines, one page a
line, language, split. Lengths are in characters, probabilities are CLD3's.

`mc4` follows version 3.1.0 of the reference (TensorFlow Datasets). `mc4-3.0.1` is the older corpus
that mT5 was trained on; its arbitrary choice among pages of one address is not reproduced.
"""

import enum
from dataclasses import dataclass

from data.errors import DataError
from data.held_out import OneIn, ShareOfEachLanguage


class LanguageBy(enum.Enum):
    """Whose word counts for a page's language."""

    CLD3 = "CLD3's answer"
    DECLARATION = "the archive's declaration, with CLD3's answer counted beside it"


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """One way of cleaning.

    Attributes:
        name: as the command line has it.
        long_lines: so many long lines a page must have.
        long_line_characters: so long they must be.
        language_by: whose word counts for the language.
        certain_probability: below it, CLD3's answer is "und".
        held_out: which pages are held out.
    """

    name: str
    long_lines: int
    long_line_characters: int
    language_by: LanguageBy
    certain_probability: float
    held_out: OneIn | ShareOfEachLanguage


def mc4() -> RuleSet:
    """Returns the rules of mC4 3.1.0."""
    return RuleSet(
        name="mc4",
        long_lines=3,
        long_line_characters=200,
        language_by=LanguageBy.CLD3,
        certain_probability=0.95,
        held_out=OneIn(1000),
    )


def mc4_3_0_1() -> RuleSet:
    """Returns the rules of mC4 3.0.1, which trust CLD3 sooner."""
    return RuleSet(
        name="mc4-3.0.1",
        long_lines=3,
        long_line_characters=200,
        language_by=LanguageBy.CLD3,
        certain_probability=0.70,
        held_out=OneIn(1000),
    )


def demo() -> RuleSet:
    """Returns rules under which short shipped texts of all 101 languages survive.

    mC4's own would leave 54 of the languages, and held-out pages in almost none. One line of 10
    characters is a clause in Chinese.
    """
    return RuleSet(
        name="demo",
        long_lines=1,
        long_line_characters=10,
        language_by=LanguageBy.DECLARATION,
        certain_probability=0.95,
        held_out=ShareOfEachLanguage(share=0.12, minimum=2, maximum=64),
    )


def named(name: str) -> RuleSet:
    """Returns the rule set with this name.

    Raises:
        DataError: there is none.
    """
    sets = {rules.name: rules for rules in (mc4(), mc4_3_0_1(), demo())}
    if name not in sets:
        raise DataError(f"Rule set {name!r} was asked for; there are {', '.join(sets)}.")
    return sets[name]


def differences_from_mc4(rules: RuleSet) -> list[str]:
    """Returns a sentence for each respect in which the rules are not mC4's."""
    reference = mc4()
    described = {
        "A page needs {}": (_lines(rules), _lines(reference)),
        "A page's language is {}": (rules.language_by.value, reference.language_by.value),
        "CLD3's answer counts from probability {}": (
            f"{rules.certain_probability:.2f}",
            f"{reference.certain_probability:.2f}",
        ),
        "Held out are {}": (str(rules.held_out), str(reference.held_out)),
    }
    return [
        f"{sentence.format(here)} (mC4: {there})."
        for sentence, (here, there) in described.items()
        if here != there
    ]


def _lines(rules: RuleSet) -> str:
    lines = "line" if rules.long_lines == 1 else "lines"
    return f"{rules.long_lines} {lines} of at least {rules.long_line_characters} characters"
