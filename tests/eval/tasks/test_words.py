"""Numbers of tasks in words."""

from hypothesis import given
from hypothesis import strategies as st

from eval.tasks.compared import Compared
from eval.tasks.scores import Estimate
from eval.tasks.words import shown, three


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, p_value=None, examples=9)


def test_an_interval_is_shown_up_to_the_end_of_its_scale():
    one = Compared(
        baseline=estimate(97.0, 36.8), candidate=estimate(2.0, 1.0), gain=estimate(-95.0, 40.0)
    )
    assert three(one) == ("97.0 [60.2, 100.0]", "2.0 [1.0, 3.0]", "-95.0 [-100.0, -55.0]")
    nats = "97.00 [60.20, 133.80]", "2.00 [1.00, 3.00]", "-95.00 [-135.00, -55.00]"
    assert three(one, 2, None) == nats


@given(*[st.floats(0.0, 100.0)] * 2, st.floats(0, 1300))
def test_what_is_shown_holds_the_value_and_decides_the_same(baseline, candidate, half):
    gain = candidate - baseline
    one = Compared(
        baseline=estimate(baseline, half),
        candidate=estimate(candidate, half),
        gain=estimate(gain, half),
    )
    found = shown(one)
    for score in (found.baseline, found.candidate):
        assert 0 <= score.low <= score.value <= score.high <= 100
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert (found.gain.low > 0, found.gain.high < 0) == (gain - half > 0, gain + half < 0)
