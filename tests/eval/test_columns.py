"""One column as a field of data, a cell of the page and a cell of Markdown."""

from operator import itemgetter

from eval.columns import Column, count, fields, shown, to_csv, with_sign
from eval.compare import Estimate

GAIN = Estimate(value=-0.5, low=-1.0, high=0.25, examples=9)
COLUMNS = (
    Column("Language", itemgetter(0), note=lambda row: "sw", name="language"),
    Column(
        "Gain", itemgetter(1), with_sign, "nats", "gain", ends=True, verdict=lambda row: "worse"
    ),
    Column("", itemgetter(2), name="only_data"),
    Column("Tokens", itemgetter(2), count),
)


def test_a_column_is_a_field_with_its_ends_and_a_cell_with_its_unit():
    row = ("=Swahili", GAIN, 12_345)
    data = fields(COLUMNS, row)
    assert data == {
        "language": "=Swahili",
        "gain": -0.5,
        "gain_low": -1.0,
        "gain_high": 0.25,
        "only_data": 12_345,
    }
    assert to_csv([data]).splitlines()[1] == "'=Swahili,-0.5,-1.0,0.25,12345"  # no formula
    table = shown(COLUMNS, [row])
    assert table.markdown == (
        ["Language", "Code", "Gain, nats", "Tokens"],
        [["=Swahili", "sw", "-0.500 [-1.000, +0.250] ●", "12,345"]],
    )
    _, gain, tokens = table.rows[0]
    assert (gain.text, gain.ends, gain.value) == ("−0.500", ["−1.000", "+0.250"], -0.5)
    assert (tokens.kind, tokens.text, tokens.value) == ("number", "12\u202f345", 12_345)
    nothing = fields(COLUMNS, ("", None, None))
    assert nothing["gain"] is nothing["gain_low"] is nothing["gain_high"] is None
