"""Any text in Markdown is read back as that text, whatever part of the document it is in."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_reader import HOSTILE, MARKDOWN

from data.errors import CONTROLS, escape_controls
from eval.report.markdown_sections import bullets, heading, paragraph, table

TEXTS = st.text(
    st.sampled_from("-+=#*_`~<>[]()!|&;:/.\\$1a x\t\n\r\x1b\x9b\u2028\u202e\ud800é")
) | (st.text(max_size=40))
PARTS = {
    "heading": heading,
    "paragraph": paragraph,
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
    written = paragraph(f"see {address}")
    assert address not in written
    assert written.replace("\\", "") == f"see {address}"
