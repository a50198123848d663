"""Pages of real text with personal data planted in them, and numbers that are none."""

import csv
import importlib
import random
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from data import languages, scripts
from data.curation.personal_numbers import regions_of
from data.demo import pages_of

# One language per script, 24 scripts; the second code is that of the script's digit zero.
SCRIPTS = {
    "sw": "0", "ru": "0", "el": "0", "hy": "0", "ka": "0", "iw": "0", "ar": "٠", "fa": "۰",
    "hi": "०", "bn": "০", "pa": "੦", "gu": "૦", "ta": "௦", "te": "౦", "kn": "೦", "ml": "൦",
    "si": "0", "th": "๐", "lo": "໐", "my": "၀", "km": "០", "am": "0", "ko": "0", "ja": "０",
    "zh": "０", "de": "0", "en": "0", "fr": "0", "es": "0", "tr": "0", "pl": "0", "it": "0",
}  # fmt: skip
NUMBERS = Path(__file__).parents[2] / "data/curation/national_numbers.tsv"
FORMATS = (PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL, PhoneNumberFormat.E164)
# Numbers that random digits hardly ever are, from python-stdnum's documentation.
EXAMPLES = {
    "cn.ric": "360426199101010071", "mx.curp": "BOXW310820HNERXN09", "mx.rfc": "GODE561231GR8",
}  # fmt: skip
WORD_END = re.compile(r"(?<=\S)(?=[\s፡])")
NONE = (  # what is not personal data
    "2024-11-27", "27.11.2024", "27/11/2024 12:30:45", "1999-2004", "6.3.4.2", "v2.6.18.1",
    "1.2.3.4.5", "10.0.0.1", "192.168.100.250", "127.0.0.1", "::1", "fe80::1", "12:30:45",
    "978-3-16-148410-0", "1 234 567,89", "1,234,567", "3.141592653589793", "16777216",
    "foo@bar", "icon@2x.png", "user@example.com", "@user", "0x7fff5fbff8a0", "1.500.000",
    "std::vector", "40.712776, -74.005974", "text/shared/01/04140000.xhp", "299.792.458 m/s",
)  # fmt: skip


class Planted(NamedTuple):
    """A page with one planted datum, and where it stands; no kind if it is none."""

    text: str
    language: str
    kind: str
    begin: int
    end: int


def planted(language: str, draw: random.Random, each: int) -> list[Planted]:
    """Returns pages with so many data of each kind, and one with each of NONE."""
    pages = [page.text for page in pages_of(languages.get(language)) if len(page.text) > 60]
    data = [("email", email(draw)) for _ in range(each)]
    data += [("ip", ip(draw)) for _ in range(each)]
    data += [("phone", phone(language, draw)) for _ in range(each if regions_of(language) else 0)]
    numbers = [national_number(language, draw) for _ in range(each)]
    data += [("national_number", number) for number in numbers if number]
    data += [("", one) for one in NONE]
    return [_in(draw.choice(pages), language, kind, datum, draw) for kind, datum in data]


def email(draw: random.Random) -> str:
    words = [
        "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in "1234"
    ]
    local = draw.choice(
        [words[0], f"{words[0]}.{words[1]}", f"{words[0]}_{words[1]}7", f"{words[0]}+x"]
    )
    top = draw.choice(["com", "org", "de", "co.ke", "info"])
    return f"{local}@{words[2]}{draw.choice(['', '-' + words[3]])}.{top}"


def ip(draw: random.Random) -> str:
    """Returns a public address of version 4."""
    first = draw.choice([n for n in range(11, 223) if n not in (100, 127, 169, 172, 192, 198, 203)])
    return ".".join(map(str, [first, *(draw.randint(0, 254) for _ in range(3))]))


def phone(language: str, draw: random.Random) -> str:
    """Returns a number of the language's regions, at times in the digits of its script."""
    region = draw.choice(regions_of(language))
    kind = draw.choice([PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE])
    example = phonenumbers.example_number_for_type(region, kind)
    while True:
        national = str(example.national_number)
        tail = "".join(draw.choices("123456789", k=4))
        number = phonenumbers.PhoneNumber(
            country_code=example.country_code,
            national_number=int(national[:-4] + tail),
            italian_leading_zero=example.italian_leading_zero,
        )
        if phonenumbers.is_valid_number(number):
            break
    written = phonenumbers.format_number(number, draw.choice(FORMATS))
    zero = SCRIPTS.get(language, "0")
    if zero == "0" or draw.random() < 0.5:
        return written
    return re.sub("[0-9]", lambda digit: chr(ord(zero) + int(digit[0])), written)


def national_number(language: str, draw: random.Random) -> str | None:
    """Returns a number that python-stdnum takes for valid; None if the regions have none."""
    with NUMBERS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    of_language = [row for row in rows if row["region"] in regions_of(language)]
    if not of_language:
        return None
    row = draw.choice(of_language)
    if row["module"] in EXAMPLES:
        return EXAMPLES[row["module"]]
    is_valid = importlib.import_module(f"stdnum.{row['module']}").is_valid
    while True:
        written = random_form(row["form"], draw)
        try:
            if is_valid(written):
                return written
        except LookupError:
            continue


def random_form(form: str, draw: random.Random) -> str:
    """Returns random digits and letters that an expression of the table matches."""
    parser = re._parser  # the expressions' own structure; tests need no generator beside it
    groups: dict[int, str] = {}

    def written(parts) -> str:
        return "".join(one(str(kind), value) for kind, value in parts)

    def one(kind: str, value) -> str:
        if kind == "LITERAL":
            return chr(value)
        if kind == "IN":
            return draw.choice("".join(members(str(k), v) for k, v in value))
        if kind == "MAX_REPEAT":
            return "".join(written(value[2]) for _ in range(draw.randint(value[0], value[1])))
        if kind == "BRANCH":
            return written(draw.choice(value[1]))
        if kind == "SUBPATTERN":
            groups[value[0]] = written(value[3])
            return groups[value[0]]
        assert kind == "GROUPREF", kind
        return groups[value]

    def members(kind: str, value) -> str:
        if kind == "RANGE":
            return "".join(map(chr, range(value[0], value[1] + 1)))
        return chr(value) if kind == "LITERAL" else "0123456789"

    return written(parser.parse(form))


def _in(text: str, language: str, kind: str, datum: str, draw: random.Random) -> Planted:
    """Returns a text with a datum between words or unspaced characters, with no digit near."""
    unspaced = scripts.kinds()[scripts.code_points(text)] == scripts.UNSPACED
    is_unspaced = unspaced.mean() > 1 / 3
    ends = [place.start() for place in WORD_END.finditer(text)]
    between = (np.flatnonzero(unspaced[1:] & unspaced[:-1]) + 1).tolist()
    places = [
        place for place in (between if is_unspaced else ends)
        if not re.search(r"\d", text[max(place - 4, 0) : place + 4])
    ]  # fmt: skip
    at, before = draw.choice(places), "" if is_unspaced else " "
    begin = at + len(before)
    return Planted(
        text[:at] + before + datum + text[at:], language, kind, begin, begin + len(datum)
    )
