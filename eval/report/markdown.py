"""`report.md`, and Markdown in which every text is shown as it was written.

Names of languages, runs and recipes come from strangers. Every word of a document passes through
`escape` here, so no word is a heading, a table, a link, HTML or a formula. The rules are
CommonMark's and GitHub's.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import regex
from markupsafe import Markup

from data.errors import escape_controls
from eval.report.contents import ReportContents

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


def bullets(texts: Iterable[str]) -> str:
    """Returns a list, one text per entry; empty without entries."""
    return "\n".join(f"- {escape(text)}" for text in texts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table, whose first line is its head."""
    lines = [[escape(cell) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_markdown(report: ReportContents) -> str:
    """Returns `report.md`: the text and the tables of the page, without its pictures."""
    # Imported here: cards of corpora and models are Markdown too, and need no template.
    from eval.report.html import context, environment

    template = environment().overlay(finalize=_escape).get_template("report.md.j2")
    return regex.sub(r"\n{3,}", "\n\n", template.render(context(report)).strip()) + "\n"


def _escape(value: Any) -> Markup:
    """Returns a value of the template as Markdown; a macro's output is Markdown already."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))
