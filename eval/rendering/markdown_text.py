"""The parts of a Markdown document, each made from text alone.

Names of languages, runs and recipes come from strangers. Every word of the document passes through
`escape` here, so no word is a heading, a table, a link, HTML or a formula; a renderer shows it as
it was written. The rules are CommonMark's and GitHub's.
"""

from collections.abc import Iterable, Sequence

import regex

from data.errors import escape_controls

# Markup anywhere; what GitHub takes for an address; what begins a list or a rule on its line.
MARKUP = regex.compile(
    r"[\\`*\[\]<>#|&~$]|(?<![^\W_])_|_(?![^\W_])"
    r"|(?<=https?|ftp):(?=//)|(?<=www)\."
    r"|^[-+](?=\s|-|$)|(?<=^\d{1,9})[.)](?=\s|$)",
    regex.IGNORECASE,
)


def escape(text: str) -> str:
    """Returns Markdown on one line that is shown as this text, spaces at its ends aside."""
    return MARKUP.sub(r"\\\g<0>", escape_controls(" ".join(text.split())))


def heading(text: str) -> str:
    """Returns the title of a document."""
    return f"# {escape(text)}"


def paragraph(text: str) -> str:
    """Returns a paragraph; empty for an empty text."""
    return escape(text)


def bullets(texts: Iterable[str]) -> str:
    """Returns a list, one text per entry; empty without entries."""
    return "\n".join(f"- {escape(text)}" for text in texts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table, whose first line is its head."""
    lines = [[escape(cell) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
