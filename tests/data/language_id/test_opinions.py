import pytest

from data.language_id import confusions
from data.language_id.cld2 import CLD2Answer
from data.language_id.opinions import is_settled, opinion_of_cld2, opinions_of
from data.language_id.prediction import Prediction


def test_an_answer_in_another_script_does_not_count():
    said = Prediction("hi", 0.98, True)
    assert opinions_of(confusions.of_cld3(), said, ("Hans",)) == ()
    (one,) = opinions_of(confusions.of_cld3(), said, ("Deva",))
    assert (one.language, one.confidence) == ("hi", 0.98)
    assert opinions_of(confusions.of_cld3(), Prediction("und", 0.0, False), ("Latn",)) == ()


def test_cld2_gives_its_next_answer_in_the_script():
    answer = CLD2Answer((("en", 0.6), ("zh", 0.4)), True)
    assert opinion_of_cld2(answer, ("Hans",))[1:] == ("zh", 0.4)
    assert opinion_of_cld2(answer, ("Latn",))[1:] == ("en", 0.6)
    assert opinion_of_cld2(answer._replace(is_reliable=False), ("Latn",))[1:] == ("en", 0.3)
    assert opinion_of_cld2(answer, ("Thai",))[1:] == ("und", 1.0)


@pytest.mark.parametrize(
    "shares, is_reliable, settled",
    [
        ((("el", 0.95), ("en", 0.05)), True, True),
        ((("el", 0.55), ("en", 0.45)), True, False),
        ((("el", 0.95),), False, False),
        ((), True, False),
    ],
)
def test_cld2_settles_reliable_pages_in_one_language(shares, is_reliable, settled):
    answer = CLD2Answer(shares, is_reliable)
    assert is_settled(opinion_of_cld2(answer, ("Grek",)), answer) == settled


def test_cld2_does_not_settle_what_it_confuses():
    answer = CLD2Answer((("ms", 0.99),), True)
    assert not is_settled(opinion_of_cld2(answer, ("Latn",)), answer)
