"""`report.md` of a small report; any text in Markdown is read back as that text."""

import dataclasses
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_reader import HOSTILE, MARKDOWN
from small_reports import made_of, make

from data.errors import CONTROLS, escape_controls
from eval.gains import TrainingText
from eval.report.data import to_json
from eval.report.markdown import bullets, escape, heading, table, to_markdown
from eval.sides import Difference


def test_markdown_has_one_row_per_language_and_whole_tables():
    markdown = to_markdown(make())
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert sum("| ru |" in row for row in rows) == 1
    assert any(r"Russian (Latin) \*" in row for row in rows)
    assert r"tiny\|er" in markdown  # a pipe in a name breaks no table
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3, 4, 7, 10}


def test_fertility_stands_in_markdown_and_json():
    text = TrainingText(
        bytes_per_token=4.0, tokens_per_page=1200.4, unknown_share=0.0, byte_fallback_share=0.0123
    )
    made = make()
    compared = dataclasses.replace(made.compared, text={"sw": text})
    made = dataclasses.replace(made, comparisons=(compared,))
    assert "| Swahili | sw | 0.250 | 1,200 | 0.0% | 1.2% |" in to_markdown(made)
    read = to_json(made)["languages"]["sw"]
    assert (read["unknown_share"], read["byte_fallback_share"]) == (0.0, 0.0123)


def test_the_summary_stands_in_markdown():
    made = make()
    markdown = to_markdown(made)
    for name, value in dataclasses.asdict(made.summary).items():
        assert f"| {name.replace('_', ' ')} | " in markdown, value
    assert "| languages missing | 98 |" in markdown
    assert f"| mean step speedup | {made.summary.mean_step_speedup:.4g} |" in markdown


def test_names_of_strangers_are_words_of_the_report_and_nothing_else():
    named = [dataclasses.replace(one, name=HOSTILE) for one in make().compared.sides]
    made = made_of(*named, differences=(Difference(HOSTILE, (HOSTILE,), (HOSTILE,)),))
    language = dataclasses.replace(made.gains["sw"].language, name=HOSTILE)
    made.compared.gains["sw"] = dataclasses.replace(made.gains["sw"], language=language)
    tokens = MARKDOWN.parse(to_markdown(made))
    inline = [one for token in tokens for one in token.children or ()]
    assert {one.type for one in inline} == {"text"}
    assert {token.tag for token in tokens} <= {
        "", "h1", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"
    }  # fmt: skip
    assert sum(token.tag == "h1" for token in tokens) == 2  # opened and closed
    assert len([token for token in tokens if token.type == "table_open"]) == 6


TEXTS = st.text(
    st.sampled_from("-+=#*_`~<>[]()!|&;:/.\\$1a x\t\n\r\x1b\x9b\u2028\u202e\ud800é")
) | (st.text(max_size=40))
PARTS = {
    "heading": heading,
    "paragraph": escape,
    "entry": lambda text: bullets([text]),
    "cell": lambda text: table((text, "b"), [("c", "d")]),
}


def words(text: str) -> str:
    return escape_controls(" ".join(text.split()))


@pytest.mark.parametrize("part", PARTS)
@given(text=TEXTS)
@example(text=HOSTILE)
@example(text="1. one")
@example(text="1) one")
@example(text="---")
@example(text="- - -")
@example(text="    code")
@example(text="# x #")
@example(text="a\\")
def test_a_text_is_read_back_from_every_part(part, text):
    written = PARTS[part](text)
    assert not CONTROLS.search(written.replace("\n", ""))
    tokens = MARKDOWN.parse(written)
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == (4 if part == "cell" else bool(words(text)) or part == "heading")
    children = inline[0].children or [] if inline else []
    assert {one.type for one in children} <= {"text", "text_special"}
    assert "".join(one.content for one in children) == words(text)


@pytest.mark.parametrize("address", ["https://h.example", "HTTP://h", "ftp://h", "www.h.example"])
def test_an_address_is_no_link_on_github(address):
    written = escape(f"see {address}")
    assert address not in written
    assert written.replace("\\", "") == f"see {address}"
