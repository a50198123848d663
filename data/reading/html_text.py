"""Text of an HTML page as in WET files: the title, then all text.

Resiliparse parses and lays out the page, without bullets, alternative texts of images and the
content of `noscript`. The charset is chosen as in browsers (WHATWG): the byte-order mark, then the
server's declaration, then the page's own, then a guess. Lines are stripped and blank ones dropped,
as `web_archive` does for extracted text.
"""

import codecs

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def text_of(html: bytes, declared_charset: str | None) -> str:
    """Returns the page's text, one paragraph per line."""
    tree = HTMLTree.parse(bytes_to_str(html, _encoding(html, declared_charset)))
    text = extract_plain_text(tree, main_content=False, alt_texts=False, list_bullets=False)
    lines = [tree.title or "", *text.splitlines()]
    return "\n".join(filter(None, map(str.strip, lines)))


def _encoding(html: bytes, declared_charset: str | None) -> str:
    for mark, encoding in MARKS:
        if html.startswith(mark):
            return encoding
    if declared_charset and _is_known(declared_charset):
        return declared_charset
    return detect_encoding(html, from_html_meta=True) or "utf-8"


def _is_known(encoding: str) -> bool:
    try:
        return bool(codecs.lookup(encoding))
    except LookupError:
        return False
