"""Quality signals of one page in plain Python: what the arrays must come to."""

import itertools
import re
from collections import Counter
from typing import Any

from data.curation import words as kind
from data.curation import words as rules
from data.curation.signals import LONGEST_WORD, MOST_WORDS, listed_stop_words
from data.dedup.hashed_words import characters_per_word

FLAGS = kind.flags()


def has(character: str, bits: int) -> bool:
    return bool(FLAGS[ord(character)] & bits)


def words(text: str, language: str) -> list[str]:
    if language in rules.EVERY_MARK:
        return cut_at_every_mark(text, language)
    return [
        word
        for run in text.split()
        for piece in pieces(run, language)
        for word in (unspaced(piece) if characters_per_word(language) else [piece])
    ]


def cut_at_every_mark(text: str, language: str) -> list[str]:
    """The Indic NLP Library's words, without white space inside of them."""
    marks = re.escape(rules.INDIC_MARKS)
    if language not in rules.URDU:
        number = r"(?<=[0-9])[ \t]?[,.:/][ \t]?(?=[0-9])"
        text = re.sub(number, lambda found: chr(0xE000 + ord(found[0].strip())), text)
    pieces = (piece for run in re.split(r"[ \t]+", text) for piece in re.split(f"([{marks}])", run))
    cut = (re.sub("[\ue000-\ue0ff]", lambda c: chr(ord(c[0]) - 0xE000), piece) for piece in pieces)
    return [word for word in ("".join(piece.split()) for piece in cut) if word]


def unspaced(piece: str) -> list[str]:
    found: list[str] = []
    for at, character in enumerate(piece):
        alone = has(character, kind.UNSPACED) or (at and has(piece[at - 1], kind.UNSPACED))
        if alone or not found:
            found.append("")
        found[-1] += character
    return found


def pieces(run: str, language: str) -> list[str]:
    """A run of visible characters, cut at its marks."""
    cuts = {0, len(run)}
    begin, end = 0, len(run)
    while begin < end and (size := prefix(run, begin, language)):
        begin += size
        cuts.add(begin)
    while end > 0 and (size := suffix(run, begin, end, language)):
        end -= size
        cuts.add(end)
    cuts |= inside(run, language)
    for at in range(1, len(run) - 1):
        if run[at] not in "'’":
            continue
        tail = next(run[at + 1 : end] for end in range(at + 2, len(run) + 1) if end in cuts)
        if tail in ("s", "S") and language not in rules.WHOLE_HYPHENS:
            cuts.add(at)
        if language in rules.ENGLISH and tail == "t" and run[at - 1] == "n":
            cuts.add(at - 1)
        if language in rules.ENGLISH and tail in ("m", "d", "re", "ve", "ll"):
            cuts.add(at)
    cuts -= {two.start() + 1 for two in re.finditer("(?<!')''(?!')", run)}
    ordered = sorted(cuts)
    return [run[a:b] for a, b in itertools.pairwise(ordered)]


def prefix(run: str, at: int, language: str) -> int:
    dots = re.match(r"\.\.+", run[at:])
    if dots:
        return len(dots[0])
    plus = run[at] == "+" and not re.match("[0-9]", run[at + 1 : at + 2])
    slash = run[at] == "/" and language in rules.SLASHES_BEFORE
    return int(slash or has(run[at], kind.EDGE) or run[at] in rules.ONLY_BEFORE or plus)


def suffix(run: str, begin: int, end: int, language: str) -> int:
    dots = re.search(r"\.\.+$", run[:end])
    if dots:
        return len(dots[0])
    last, before = run[end - 1], run[end - 2 : end - 1] if end > 1 else ""
    if has(last, kind.EDGE):
        return 1
    if language in rules.SLASHES_AFTER and last == "/":
        return 1
    two = end > 2 and all(has(c, kind.UPPER) for c in run[end - 3 : end - 1])
    if last == "." and language in rules.STOPS_AFTER_LETTERS:
        return int(two)
    if before and before in "0123456789":
        return int(last in rules.CURRENCIES + ("+" if language in rules.ORDINALS else "+."))
    if last == "." and before:
        single = end - begin == 2 and "a" <= before <= "z"
        ends = has(before, kind.LOWER | kind.EDGE) or two or before in "%²-+"
        return int(ends and not single)
    return 0


def inside(run: str, language: str) -> set[int]:
    cuts = set()
    alike = "".join("a" if has(c, kind.LETTER | kind.DIGIT) else c for c in run)
    address = "://" in run or "a@a" in alike
    for at, character in enumerate(run):
        before, after = run[at - 1] if at else "\0", run[at + 1] if at + 1 < len(run) else "\0"

        def between(left: int, right: int, before: str = before, after: str = after) -> bool:
            return has(before, left) and has(after, right)

        letter, digit = kind.LETTER, kind.DIGIT
        right = letter | digit if language in rules.DIGITS_AND_HYPHENS else letter
        left = letter | digit if language in rules.ENGLISH else right
        marks = ":<>=" if language in rules.WHOLE_SLASHES else ":<>=/"
        operators = "+*^" if language in rules.WHOLE_RANGES else "+*^-"
        hyphens = language not in rules.WHOLE_HYPHENS or language in rules.DIGITS_AND_HYPHENS
        alone = (
            (character == "," and between(letter, letter))
            or (character in marks and between(letter | digit, letter))
            or (
                character == "."
                and between(kind.LOWER, kind.UPPER)
                and language not in rules.FULL_STOPS
            )
            or (
                character == "."
                and between(letter | digit, kind.UPPER | digit)
                and language in rules.FULL_STOPS
            )
            or (
                character == "/"
                and between(letter | digit, letter | digit)
                and language in rules.SLASHES_AFTER | rules.SLASHES_BEFORE
            )
            or (character in operators and between(digit, digit))
            or (character in "-–—~" and hyphens and between(left, right))
        )
        if (alone and not address) or has(character, kind.ICON):
            cuts |= {at, at + 1}
        elision = language in rules.ELISIONS and character in "'’" and between(letter, letter)
        if elision or (at and character in rules.TSHEG):
            cuts.add(at + 1)
    for dots in re.finditer(r"\.\.+", run):
        cuts |= set(dots.span())
    return cuts


def repeated(elements: list[str]) -> tuple[int, int]:
    seen, count, characters = set(), 0, 0
    for element in elements:
        if element in seen:
            count, characters = count + 1, characters + len(element)
        seen.add(element)
    return count, characters


def top(words: list[str], n: int) -> int:
    grams = [" ".join(words[at : at + n]) for at in range(len(words) - n + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


def duplicated(words: list[str], n: int) -> int:
    seen, characters, at = set(), 0, 0
    while at < len(words) - n + 1:
        gram = tuple(words[at : at + n])
        if gram in seen:
            characters, at = characters + len("".join(gram)), at + n
        else:
            seen.add(gram)
            at += 1
    return characters


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def signals(text: str, language: str) -> dict[str, Any]:
    found, scale = words(text, language), characters_per_word(language)
    weight = [1 / scale if scale and has(w[0], kind.UNSPACED) else 1.0 for w in found]
    content = [any(has(c, kind.CONTENT) for c in word) for word in found]
    letters = [any(has(c, kind.ALPHABETIC | kind.UNSPACED) for c in word) for word in found]
    everything, some = sum(weight), sum(w for w, c in zip(weight, content, strict=True) if c)
    lines, visible = text.splitlines(), [line for line in text.split("\n") if line.strip()]
    gopher, paragraphs = re.split("\n+", text), re.split(r"\n{2,}", text.strip())
    return {
        "characters": len(text),
        "words": round(some),
        "mean_word_length": share(
            sum(len(w) for w, c in zip(found, content, strict=True) if c), some
        ),
        "dup_line_frac": share(repeated(gopher)[0], len(gopher)),
        "dup_para_frac": share(repeated(paragraphs)[0], len(paragraphs)),
        "dup_line_char_frac": share(repeated(gopher)[1], len(text)),
        "dup_para_char_frac": share(repeated(paragraphs)[1], len(text)),
        **{
            f"top_{n}_gram": share(top(found, round(n * (scale or 1))), len(text))
            for n in (2, 3, 4)
        },
        **{
            f"duplicated_{n}_n_grams": share(duplicated(found, round(n * (scale or 1))), len(text))
            for n in range(5, 11)
        },
        "bullet_lines": share(
            sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)
        ),
        "ellipsis_lines": share(
            sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)
        ),
        "hashes_per_word": share(text.count("#"), everything),
        "ellipses_per_word": share(text.count("...") + text.count("…"), everything),
        "alphabetic_words": share(
            sum(w for w, has in zip(weight, letters, strict=True) if has), everything
        ),
        "line_punct_ratio": share(
            sum(has(line[-1], kind.END_MARK) for line in visible), len(visible)
        ),
        "short_line_ratio": share(sum(len(line) <= 30 for line in visible), len(visible)),
        "char_dup_ratio": share(repeated(visible)[1], len(text.replace("\n", ""))),
        "list_ratio": share(text.count("\n"), everything),
    }


def common_words(text: str, language: str) -> dict[str, int]:
    scale = characters_per_word(language)
    if not scale or scale < 4:
        counts = Counter(
            word
            for word in words(text, language)
            if len(word) <= LONGEST_WORD
            and any(has(c, kind.ALPHABETIC | kind.UNSPACED) for c in word)
        )
    else:
        counts = Counter(
            text[at : at + 3]
            for at in range(len(text) - 2)
            if all(has(c, kind.UNSPACED) for c in text[at : at + 3])
        )
    first = {word: order for order, word in enumerate(counts)}
    listed = listed_stop_words().get(language, ())
    ordered = sorted(
        counts, key=lambda word: (word not in listed, -counts[word], len(word), first[word])
    )
    return {word: counts[word] for word in ordered[:MOST_WORDS]}
