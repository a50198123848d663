""""""

import io

from pipeline.curation.select import print_summary
from pipeline.terminal import Terminal


def test_a_kind_of_personal_data_that_no_page_has_is_told():
    counts = {"kept": 3, "lines_gone": 0, "copies_gone": 0}
    languages = {
        "en": counts | {"rejected": {"language": 1}, "masked": {"email": 2}},
        "sw": counts | {"rejected": {"language": 4}, "masked": {"email": 1}},
    }
    body = {
        "rules": {"late": [{"mask": ["phone"]}, {"mask": ["email", "ip"]}]},
        "input": {"records": 11},
        "languages": languages,
    }
    file = io.StringIO()
    print_summary(Terminal(file=file, width=60), body, 1.0)
    rows = [line.rsplit(maxsplit=1) for line in file.getvalue().splitlines()]
    assert rows[:5] == [
        ["pages", "11"],
        ["kept", "6"],
        ["rejected: language", "5"],
        ["masked: email", "3"],
        ["masked: ip", "0"],
    ]
