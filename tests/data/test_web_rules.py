import dataclasses

from data.held_out import share_of_each_language
from data.line_rules import unicode_line_hash
from data.rule_sets import LongLines
from data.web_rules import differences_from_mc4, mswitch_web


def test_the_numbers_of_the_sources():
    rules = mswitch_web()
    assert rules.name == "mswitch-web"
    assert rules.long_lines == LongLines(3, 200)  # mC4
    assert (rules.certainty.lowest, rules.certainty.highest) == (0.3, 0.9)  # FineWeb2
    assert rules.bad_words.removed_share == 0.999  # mC4
    assert rules.line_hash is unicode_line_hash


def test_it_says_in_words_how_it_differs_with_the_settings_of_the_user():
    rules = dataclasses.replace(mswitch_web(), held_out=share_of_each_language(0.02, minimum=3))
    sentences = differences_from_mc4(rules)
    assert len(sentences) == 6
    assert all(sentence.endswith(").") for sentence in sentences)
    assert sentences[-1].startswith("Held out are 2% of each language's pages, at least 3 ")
