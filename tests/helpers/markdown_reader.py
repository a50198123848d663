"""CommonMark with GitHub's tables and struck words, and a text that tries every injection."""

from markdown_it import MarkdownIt

MARKDOWN = MarkdownIt("commonmark", {"inline_definitions": False}).enable(
    ["table", "strikethrough"]
)
HOSTILE = (
    "a|b `c` **d** _e_ ~~f~~ <script>alert(1)</script> [x](javascript:alert(1)) ![i](//h/p.png) "
    "<https://h> https://h www.h &lt; \\ $x$ \x1b[2J\x9b31m\u202e"
    "\n\n# heading\n\n- item\n1. one\n---"
)
