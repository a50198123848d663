"""Outputs are read one behind the calls, in order, and each once."""

import pytest

from pipeline.hardware.one_ahead import Stop, one_ahead


def calls(count, events):
    """Notes each call of a device."""
    for number in range(count):
        events.append(("called", number))
        yield number


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_output_is_read_once_and_in_order(count):
    assert list(one_ahead(calls(count, []))) == list(range(count))


def test_an_output_is_read_once_the_next_is_called_for():
    events = []
    for output in one_ahead(calls(3, events)):
        events.append(("read", output))
    assert events == [
        *(("called", 0), ("called", 1), ("read", 0)),
        *(("called", 2), ("read", 1), ("read", 2)),
    ]


def test_no_output_is_read_after_a_stop():
    def stopped():
        yield 0
        yield 1
        raise Stop

    read = []
    with pytest.raises(Stop):
        read.extend(one_ahead(stopped()))
    assert read == [0]
