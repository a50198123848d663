""""""

import gflanguages

from data.reading.page import Page, Rejected
from pipeline.corpus.judgements import (
    IdentifyLanguage,
    RejectByRule,
    judge_page,
)

PAGE = Page("https://a.example/", "text", declared_language="sw")


def test_languages_that_mc4_does_not_have_are_rejected():
    croatian = gflanguages.LoadLanguages()["hr_Latn"].sample_text.specimen_16
    outcome = IdentifyLanguage(0.5, None)(PAGE._replace(text=croatian))
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.page.language) == ("language_not_in_mc4", "und")


def test_the_first_judgement_that_drops_a_page_decides():
    first, second = RejectByRule(lambda _: "first"), RejectByRule(lambda _: "second")
    assert judge_page(PAGE, [RejectByRule(lambda _: None), first, second]) == Rejected(
        PAGE, "first"
    )
    assert judge_page(PAGE, [lambda page: page._replace(text="new")]) == PAGE._replace(text="new")
