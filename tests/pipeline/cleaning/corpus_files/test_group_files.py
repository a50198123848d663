"""Which pages an addition holds out."""

from data.rules.held_out import ShareOfEachLanguage
from pipeline.cleaning.corpus_files.group_files import ALL_DIGESTS, Addition

RULE = ShareOfEachLanguage(share=0.001, minimum=10, maximum=10_000)


def before(pages: int, held_out: float | None, added: int) -> float:
    """Returns the part of all digests that is held out; the part of the added pages alone is 1."""
    last = (
        {}
        if held_out is None
        else {"sw": f"{int(held_out * ALL_DIGESTS):032x}" if held_out else ""}
    )
    addition = Addition(1, last, {"sw": pages})
    return addition.first_training_digest("pages/sw", RULE, added, ALL_DIGESTS) / ALL_DIGESTS


def test_a_language_that_grows_holds_out_the_share_of_all_its_pages():
    assert before(30, 1 / 3, 20_000) == RULE.count(20_030) / 20_030
    assert before(30, 1 / 3, 10) == 10 / 40


def test_no_page_that_was_trained_on_is_held_out():
    assert before(10**6, 0.0009, 10**6) == 0.0009
    assert before(10**6, 0.0009, 10) == 0.0009


def test_a_language_of_which_nothing_is_held_out_is_chosen_anew():
    assert before(1, 0.0, 20_000) == before(0, None, 20_000) == 1
