"""Which of FineWeb2's files is a language's.

Thresholds come from counts that add up, and are those of the exact numbers within a step.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from fineweb2_file import FILE
from hypothesis import given
from hypothesis import strategies as st

from data.curation.quality_rules import reasons
from data.curation.signals import SIGNALS, signals
from data.curation.thresholds import (
    COUNTED,
    ENGLISH,
    ENGLISH_THRESHOLDS,
    FEWEST_PAGES,
    STEPS,
    WORD_LENGTH,
    Histograms,
    Thresholds,
    derive,
    file_name,
    fineweb2,
    histograms,
    stop_words,
    sum_histograms,
    thresholds_of_directory,
)
from data.errors import DataError


def test_a_macrolanguage_has_the_file_of_its_standard_language() -> None:
    codes = "ka", "zh", "ar", "sw", "und"
    assert [file_name(code) for code in codes] == [
        "kat_Geor",
        "cmn_Hani",
        "arb_Arab",
        "swh_Latn",
        None,
    ]


def test_languages_with_a_file_have_its_thresholds(tmp_path: Path) -> None:
    (tmp_path / "swh_Latn.yml").write_text(FILE, encoding="utf-8")
    (tmp_path / "cmn_Hani.yml").write_text(FILE.replace("0.302", "0.25"), encoding="utf-8")
    (tmp_path / "kat_Geor.yml").write_text(FILE, encoding="utf-8")  # which nobody asked for
    found = thresholds_of_directory(tmp_path, ["sw", "zh", "yo", "und"])
    assert {code: one.dup_line_frac for code, one in found.items()} == {
        "en": 0.3,
        "sw": 0.302,
        "zh": 0.25,
    }
    assert found["en"] == ENGLISH_THRESHOLDS
    assert found["sw"].stop_words == ("ya", "n\u00ed")
    assert {found[code].pages_of for code in ("sw", "zh")} == {"file"}


EMPTY = histograms(pa.RecordBatch.from_pylist([], SIGNALS))
WORDS = (
    "na", "ya", "wa", "kwa", "katika", "za", "ni", "la", "mtoto", "nyumba", "kazi", "maji", "watu",
    "siku", "mwaka", "habari", "leo", "kesho",
)  # fmt: skip


def pages(seed: int, count: int = 300) -> list[str]:
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(WORDS) + 1)
    return [
        "\n".join(
            " ".join(random.choice(WORDS, random.integers(3, 20), p=weights / weights.sum())) + "."
            for _ in range(random.integers(1, 12))
        )
        for _ in range(count)
    ]


def batch_of(language: str, seed: int, count: int = 300, repeated: int = 0) -> pa.RecordBatch:
    """Returns signals of pages; two of three pages repeat their first lines, if any do."""
    texts = pages(seed, count)
    for number, text in enumerate(texts):
        texts[number] = "\n".join([text, *text.split("\n")[: repeated * (number % 3)]])
    return signals(texts, language)


@given(
    st.lists(st.text("ab 。\n", max_size=20), max_size=9), st.lists(st.integers(0, 9), max_size=3)
)
def test_sums_of_parts_are_the_counts_of_the_whole(texts: list[str], cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    batch = signals(texts, "sw")
    parts = [batch.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    assert sum_histograms(map(histograms, parts)) == sum_histograms([histograms(batch)])


def test_counts_are_read_back_from_json() -> None:
    counts = sum_histograms([histograms(batch_of("sw", 0))])
    assert msgspec.json.decode(msgspec.json.encode(counts), type=Histograms) == counts


def test_deviations_are_those_of_the_exact_values() -> None:
    own, english = batch_of("sw", 1, repeated=2), batch_of("en", 2, repeated=1)
    found = derive({"sw": histograms(own), "en": histograms(english)})["sw"]
    for signal, gopher, threshold in shares_of(found):
        values, reference = (exact(each, signal) for each in (own, english))
        distance = (gopher - reference.mean()) / reference.std()
        expected = values.mean() + distance * values.std()
        assert threshold == pytest.approx(max(expected, 0), abs=0.002 * (1 + abs(distance)))
    assert found.pages_of == "language"


def test_deviations_by_hand() -> None:
    """English has mean and deviation 0.1; Swahili 0.2 and a few steps, and 0.2."""
    names = [name for name in COUNTED if name != WORD_LENGTH]
    own = {name: {more: 100, 200 + more: 100} for more, name in enumerate(names)}
    english = {name: {0: 100, 100: 100} for name in names}
    found = derive(
        {
            "sw": counted({}, 0, own | {WORD_LENGTH: {80: 100, 160: 100}}, pages=200),
            "en": counted({}, 0, english | {WORD_LENGTH: {60: 100, 100: 100}}, pages=200),
        }
    )["sw"]
    for signal, gopher, threshold in shares_of(found):
        assert threshold == pytest.approx(2 * gopher + names.index(signal) / STEPS), signal
    assert (found.min_avg_word_length, found.max_avg_word_length) == (6 - 1 * 2, 6 + 6 * 2)


def test_english_pages_of_the_corpus_keep_the_english_thresholds() -> None:
    found = derive({"en": histograms(batch_of("en", 3))})["en"]
    assert found.top_n_grams == ENGLISH_THRESHOLDS.top_n_grams
    assert (found.min_avg_word_length, found.max_avg_word_length) == (3, 10)


@pytest.mark.parametrize("seed", range(4))
def test_a_tail_rule_rejects_a_tenth_of_the_pages_within_a_step(seed: int) -> None:
    random, lines = np.random.default_rng(seed), ["12 34 ab cd ef gh", "ab.", "3", "a b c d."]
    texts = ["\n".join(random.choice(lines, 20, p=(0.4, 0.06, 0.48, 0.06))) for _ in range(300)]
    batch = signals(texts, "sw")
    found = derive({"sw": histograms(batch)})["sw"]
    lowest = {
        "line_punct_ratio": (found.line_punct_thr, ENGLISH_THRESHOLDS.line_punct_thr),
        "alphabetic_words": (
            found.max_non_alpha_words_ratio,
            ENGLISH_THRESHOLDS.max_non_alpha_words_ratio,
        ),
    }
    for signal, (bound, english) in lowest.items():
        assert bound < english
        assert below(batch, signal, bound) <= 0.1 < below(batch, signal, bound + 1 / STEPS)
    most = found.new_line_ratio
    assert most > ENGLISH_THRESHOLDS.new_line_ratio
    assert above(batch, "list_ratio", most) <= 0.1 < above(batch, "list_ratio", most - 1 / STEPS)


def test_a_language_with_few_pages_takes_its_script_and_then_english() -> None:
    few, many = histograms(batch_of("sw", 5, 20)), histograms(batch_of("zu", 6))
    found = derive({"sw": few, "zu": many, "ka": few})
    assert [found[code].pages_of for code in ("sw", "zu", "ka")] == [
        "script",
        "language",
        "english",
    ]
    assert found["sw"].top_n_grams != ENGLISH_THRESHOLDS.top_n_grams
    assert found["ka"].top_n_grams == ENGLISH_THRESHOLDS.top_n_grams
    assert found["ka"].min_avg_word_length is None
    assert found["ka"].line_punct_thr is None


def test_a_page_in_thai_alone_does_not_fail_for_its_missing_end_marks() -> None:
    lines = [f"มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิข้อที่ {n}" for n in range(9)]
    page = signals(["\n".join(lines)], "th")
    thresholds = derive({"th": histograms(page)})["th"]
    assert page.to_pylist()[0]["line_punct_ratio"] < ENGLISH_THRESHOLDS.line_punct_thr
    (reason,) = reasons(page, thresholds)
    assert reason is None or not reason.startswith("fineweb_line_punct")


def test_a_language_with_one_stop_word_needs_no_two() -> None:
    counts = histograms(signals(["word " * 300] * (FEWEST_PAGES + 1), "af"))
    found = derive({"af": counts})["af"]
    assert found.stop_words == ("word",)
    assert found.min_stop_words == 1


def test_scripts_without_spaces_have_no_bounds_on_word_lengths() -> None:
    counts = histograms(signals(["人人生而自由。" * n for n in range(1, FEWEST_PAGES + 2)], "zh"))
    found = derive({"zh": counts})["zh"]
    assert found.pages_of == "language"
    assert (found.min_avg_word_length, found.max_avg_word_length) == (None, None)


def test_stop_words_are_the_most_frequent_words() -> None:
    counts = histograms(batch_of("sw", 7))
    found = stop_words(counts)
    assert found[:8] == tuple(WORDS[:8])
    assert all(counts.word_counts[word] > 0.008 * counts.words for word in found)
    assert "." not in found


@pytest.mark.parametrize("share, expected", [(0.009, 12), (0.0061, 12), (0.0001, 8)])
def test_the_share_of_stop_words_falls_until_there_are_eight(share: float, expected: int) -> None:
    counts = counted({f"w{n:02}": int(share * 1e6) for n in range(12)}, 1_000_000)
    assert len(stop_words(counts)) == expected


@pytest.mark.parametrize("words, first", [(9_999, "ya"), (10_000, "w0")])
def test_few_words_leave_the_stop_words_to_fineweb2(words: int, first: str) -> None:
    counts = counted({f"w{n}": 500 - n for n in range(12)}, words)
    assert derive({"sw": counts})["sw"].stop_words[0] == first


def test_rare_words_leave_the_table_of_a_file() -> None:
    counts = counted({"na": 50, "nadra": 49}, 100_000)
    assert counts.without_rare_words().word_counts == {"na": 50}


def test_files_of_fineweb2_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "swh_Latn.yml"
    path.write_text(FILE, encoding="utf-8")
    found = fineweb2(path)
    assert found.stop_words == ("ya", "ní")
    assert (found.top_n_grams, found.dup_n_grams) == (((2, 0.396),), ((5, 0.193),))
    assert (found.dup_line_frac, found.char_duplicates_ratio) == (0.302, 0.1)
    assert found.min_avg_word_length is None
    batch = signals(["ya ní kwa watu wengi sana leo"], "sw")
    assert reasons(batch, found) == ["gopher_short_doc"]


@pytest.mark.parametrize(
    "changed, message",
    [
        (FILE.replace("- - 2\n", "- - 12\n"), "n-grams"),
        (FILE.replace("line_punct_thr: -1\n", ""), "line_punct_thr"),
        (FILE + "more: 1\n", "more"),
        ("[", "YAML"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, changed: str, message: str) -> None:
    path = tmp_path / "file.yml"
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        fineweb2(path)


def test_the_measured_english_pages_have_every_signal_that_is_moved() -> None:
    assert set(ENGLISH) == set(COUNTED) - {"line_punct_ratio", "list_ratio", "alphabetic_words"}
    assert all(deviation > 0 for _, deviation in ENGLISH.values())
    assert 3 < ENGLISH[WORD_LENGTH][0] < 10


def exact(batch: pa.RecordBatch, signal: str) -> np.ndarray:
    return batch.column(signal).to_numpy().astype(float)


def below(batch: pa.RecordBatch, signal: str, bound: float) -> float:
    return float(np.mean(exact(batch, signal) < np.float32(bound)))


def above(batch: pa.RecordBatch, signal: str, bound: float) -> float:
    return float(np.mean(exact(batch, signal) > np.float32(bound)))


def shares_of(found: Thresholds) -> Iterator[tuple[str, float, float]]:
    """Yields each share whose threshold deviations move: its signal, Gopher's threshold, this."""
    yield "dup_line_frac", 0.3, found.dup_line_frac
    gopher = dict(ENGLISH_THRESHOLDS.top_n_grams + ENGLISH_THRESHOLDS.dup_n_grams)
    assert [n for n, _ in found.top_n_grams + found.dup_n_grams] == list(range(2, 11))
    for n, threshold in found.top_n_grams:
        yield f"top_{n}_gram", gopher[n], threshold
    for n, threshold in found.dup_n_grams:
        yield f"duplicated_{n}_n_grams", gopher[n], threshold


def counted(
    words: dict[str, int],
    total: int,
    signals: Mapping[str, dict[int, int]] = EMPTY.signals,
    pages: int = 1,
) -> Histograms:
    return Histograms(pages=pages, signals=dict(signals), words=total, word_counts=words)
