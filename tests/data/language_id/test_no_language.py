import base64
import random

import pytest
from declarations import HEBREW, SWAHILI, YORUBA

from data.demo.shipped_text import shipped_pages
from data.language_id.no_language import is_no_language
from data.language_id.page_characters import page_characters
from data.scripts import code_points

DRAW = random.Random(0)
RUSSIAN = "Все люди рождаются свободными и равными в своём достоинстве и правах."


def no_language(text: str) -> bool:
    points = code_points(text)
    return is_no_language(points, page_characters(points))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(base64.b64encode(DRAW.randbytes(57)).decode() for _ in range(5)),
        "\n".join(DRAW.randbytes(32).hex() for _ in range(5)),
        "\n".join(f"{DRAW.random():.3f}\t{DRAW.random():.3f}" for _ in range(9)),
        "\n".join(f"https://example.org/{DRAW.randbytes(12).hex()}" for _ in range(5)),
        RUSSIAN.encode().decode("latin-1"),
        HEBREW.encode().decode("cp1252", "replace"),
        "for(;;){x[i]=*(p+i)&0xff;if(!x[i])break;}" * 3,
        "-=[ :::: ]=- | +---+ | *** |",
    ],
    ids=["base64", "digests", "numbers", "addresses", "mojibake", "cp1252", "code", "drawing"],
)
def test_noise_is_no_language(text):
    assert no_language(text)


@pytest.mark.parametrize("text", [SWAHILI, HEBREW, YORUBA, RUSSIAN, ""])
def test_prose_is_a_language(text):
    assert not no_language(text)


def test_no_shipped_page_of_any_language_is_noise():
    """UDHR passages and short interface messages, which have few letters beside their marks."""
    pages = [page for page in shipped_pages() if len(page.text) > 100]
    assert len(pages) > 1000
    assert [page.url for page in pages if no_language(page.text)] == []


def test_prose_with_addresses_and_numbers_is_a_language():
    assert not no_language(SWAHILI + " https://example.org/2026/11/27/habari-za-leo.html?kurasa=2")
    assert not no_language(SWAHILI + " Mwaka 2026: watu 1,234,567 (asilimia 12.5).")
