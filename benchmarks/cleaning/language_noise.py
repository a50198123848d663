"""Text that is not a language, of several kinds: made with a seed, or spoiled text of people."""

import base64
import random
import string
from collections.abc import Callable

import gflanguages

COUNT, LINES = 50, 15
DRAWING = " .:-=+*#%@|/\\_"


def noise() -> dict[str, list[str]]:
    draw = random.Random(1)
    lines: dict[str, Callable[[], str]] = {
        "base64": lambda: base64.b64encode(draw.randbytes(57)).decode(),
        "hexadecimal": lambda: draw.randbytes(32).hex(),
        "table of numbers": lambda: "\t".join(f"{draw.random() * 1000:.2f}" for _ in range(8)),
        "addresses": lambda: f"https://www.{word(draw)}.com/{draw.randbytes(15).hex()}",
        "drawing": lambda: "".join(draw.choices(DRAWING, k=70)),
        "expressions": lambda: f"{word(draw)}[{word(draw)}]={{*{word(draw)}&&!_{word(draw)}}};",
    }
    made = {
        kind: ["\n".join(line() for _ in range(LINES)) for _ in range(COUNT)]
        for kind, line in lines.items()
    }
    return made | {f"{key[:2]} read as Latin-1": spoiled(key) for key in SPOILED}


SPOILED = ("ru_Cyrl", "el_Grek", "hi_Deva", "zh_Hans", "ko_Kore", "vi_Latn", "fr_Latn")


def spoiled(key: str) -> list[str]:
    sample = gflanguages.LoadLanguages()[key].sample_text
    passages = [sample.specimen_16, sample.specimen_21, sample.specimen_32, sample.specimen_36]
    return [one.encode().decode("latin-1") for one in passages if one]


def word(draw: random.Random) -> str:
    return "".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9)))
