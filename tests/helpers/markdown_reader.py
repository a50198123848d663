"""CommonMark with GitHub's tables and struck words, and a text that tries every injection."""

from collections.abc import Iterator

from markdown_it import MarkdownIt

MARKDOWN = MarkdownIt("commonmark", {"inline_definitions": False}).enable(
    ["table", "strikethrough"]
)
HOSTILE = (
    "a|b `c` **d** _e_ ~~f~~ <script>alert(1)</script> [x](javascript:alert(1)) ![i](//h/p.png) "
    "<https://h> https://h www.h &lt; \\ $x$ \x1b[2J\x9b31m\u202e"
    "\n\n# heading\n\n- item\n1. one\n---"
)


def markup_of(card: str) -> Iterator[str]:
    """Yields the markup of a card below its header, without words."""
    _, _, body = card.split("---\n", 2)
    for token in MARKDOWN.parse(body):
        yield token.type
        yield from (one.type for one in token.children or () if "text" not in one.type)
