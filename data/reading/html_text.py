"""Text of an HTML page as in WET files: the title, then all text.

Resiliparse parses and lays out the page, without bullets, alternative texts of images and the
content of `noscript`. Lines are stripped and blank ones dropped, as `web_archive` does for
extracted text.
"""

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from data.reading.charset import decoded


def text_of(html: bytes, label: str | None) -> str:
    """Returns the page's text, one paragraph per line; `label` is the server's charset."""
    tree = HTMLTree.parse(decoded(html, label))
    text = extract_plain_text(tree, main_content=False, alt_texts=False, list_bullets=False)
    lines = [tree.title or "", *text.splitlines()]
    return "\n".join(filter(None, map(str.strip, lines)))
