"""`mswitch-web`: rules for web pages of every script, beside the exact ones of mC4.

The order differs from the reference's, as each step needs the previous ones:

1. length                      as in mC4
2. one page per address        as in mC4
3. lines                       C4's line rules in every script (`web_lines`)
4. long lines                  mC4's 3 lines of 200 characters, weighted by script
5. language                    CLD2 and CLD3 together (`language_id.combined`); a threshold per
                               language (`language_id.thresholds`), from a first pass over all pages
6. near-duplicates             a page that is similar to one that stays leaves (`dedup.minhash`,
                               `dedup.representatives`); before step 7, which would leave stubs of
                               copies that are no longer similar
7. one page per line           lines are compared by `line_dedup.unicode_line_hashes`
8. long lines left             step 4 again, as C4 counts its sentences again
9. bad words                   as in mC4, if lists are given
10. split                      a share of each language, and a minimum

After step 7 every line is in one page, so no held-out page shares a line with a training page.
After step 6 no page is a near-duplicate of one that it was compared with (those of its group).
"""

from dataclasses import dataclass

from data.dedup.line_dedup import LineHashes, unicode_line_hashes
from data.language_id import thresholds
from data.language_id.thresholds import MedianLessDeviation
from data.rules import bad_words
from data.rules.bad_words import BadWordPolicy
from data.rules.held_out import ShareOfEachLanguage, share_of_each_language
from data.rules.rule_sets import LongLines


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


def differences_from_mc4(rules: WebRuleSet) -> list[str]:
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
