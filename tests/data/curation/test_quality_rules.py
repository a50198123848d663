"""Reasons follow the bounds of each signal, in order, and a looser threshold rejects no more."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.curation.quality_rules import reasons, rules
from data.curation.signals import signals
from data.curation.thresholds import Thresholds

PROSE = (
    "It was the best of times, and it was the worst of times that we have seen with our own eyes.\n"
    "There is nothing that anybody could be sure of, but everything has to come to an end.\n"
    "A page like this one has to pass every rule, with all of its forty or sixty words of text."
)
ENGLISH = Thresholds(stop_words=("the", "be", "to", "of", "and", "that", "have", "with"))
PAIRS = [a + b for a in "abcdefghij" for b in "klmnopqr"]
LINES = [" ".join(pair + "ed" for pair in PAIRS[at : at + 8]) + "." for at in range(0, 80, 8)]
PAGES = {
    None: PROSE,
    "gopher_empty": "",
    "gopher_dup_line_frac": "\n".join(["Same line of words.", "Another line of words."] * 9),
    "gopher_top_2_gram": "to be " * 30,
    "gopher_duplicated_5_n_grams": PROSE + "\n" + PROSE.replace("\n", " "),
    "fineweb_line_punct_ratio": PROSE.replace(".", ""),
    "fineweb_char_dup_ratio": "\n".join([*LINES[:8], "ab.", "cd.", LINES[0]]),  # 1 line of 11
    "fineweb_list_ratio": "\n".join(pair + "." for pair in PAIRS),
    "gopher_short_doc": "\n".join(LINES[:4]),
    "gopher_below_avg_threshold": " ".join(PAIRS) + ".",
    "gopher_above_avg_threshold": " ".join(6 * pair for pair in PAIRS) + ".",
    "gopher_too_many_hashes": PROSE.replace(" ", " #", 12),
    "gopher_too_many_ellipsis": PROSE.replace(" ", "… ", 12),
    "gopher_too_many_bullets": "\n".join("- " + line for line in LINES),
    "gopher_too_many_end_ellipsis": "\n".join(LINES).replace(".", "...", 4),
    "gopher_below_alpha_threshold": " ".join(f"{p}ed {n + 1000}!" for n, p in enumerate(PAIRS)),
    "gopher_enough_stop_words": PROSE.upper(),
}  # fmt: skip
LONG_ONES = [LINES[0], "ab.", "cd.", "ef.", LINES[0]]
WITH_BOUNDS = {
    "gopher_dup_para_frac": (
        "\n\n".join([*LINES[:4], *4 * ["ab."]]),  # 3 of 8, and 9 of 186 characters
        {"dup_para_frac": 0.3, "dup_para_char_frac": 0.2},
    ),
    "gopher_dup_para_char_frac": (
        "\n\n".join(LONG_ONES),  # 1 of 5, and 40 of 97 characters
        {"dup_para_frac": 0.3, "dup_para_char_frac": 0.2},
    ),
    "gopher_dup_line_char_frac": ("\n".join(LONG_ONES), {"dup_line_char_frac": 0.2}),
    "fineweb_short_line_ratio": (
        "\n".join([*LINES[:3], *(line[:29] + "." for line in LINES[3:])]),  # 7 of 10
        {"short_line_thr": 0.67},
    ),
    "gopher_long_doc": (PROSE, {"max_doc_words": 57}),
}
N_GRAMS = {f"gopher_top_{n}_gram" for n in (2, 3, 4)}
N_GRAMS |= {f"gopher_duplicated_{n}_n_grams" for n in range(5, 11)}


@pytest.mark.parametrize("reason", PAGES)
def test_a_page_falls_for_its_rule(reason: str | None) -> None:
    assert reasons(signals([PAGES[reason]], "en"), ENGLISH) == [reason]


@pytest.mark.parametrize("reason", WITH_BOUNDS)
def test_a_page_falls_for_a_rule_that_has_another_bound_in_english(reason: str) -> None:
    text, bounds = WITH_BOUNDS[reason]
    page = signals([text], "en")
    assert reasons(page, ENGLISH) != [reason]
    assert reasons(page, msgspec.structs.replace(ENGLISH, **bounds)) == [reason]


def test_reasons_are_listed_in_the_order_in_which_they_count() -> None:
    names = [rule.reason for rule in rules(ENGLISH)]
    assert (set(PAGES) | set(WITH_BOUNDS)) - {None} - N_GRAMS == set(names) - N_GRAMS
    assert set(names) > N_GRAMS
    assert names[0] == "gopher_empty"
    assert names.index("gopher_top_2_gram") < names.index("fineweb_line_punct_ratio")


def test_rules_that_are_off_reject_nothing() -> None:
    off = {
        name: () if name.endswith("grams") else None
        for name in Thresholds.__struct_fields__
        if name not in ("min_stop_words", "stop_words", "pages_of")
    }
    found = reasons(signals(list(PAGES.values()), "en"), Thresholds(**off))
    assert found == ["gopher_empty" if not text else None for text in PAGES.values()]


def test_a_value_at_its_threshold_passes() -> None:
    text = "\n".join(
        ["One line of words here.", "One line of words here.", *LINES[:5], *LINES[5:8]]
    )
    batch = signals([text], "en")
    share = batch["dup_line_frac"][0].as_py()
    assert share == pytest.approx(0.1)
    assert reasons(batch, Thresholds(dup_line_frac=0.1, char_duplicates_ratio=None)) == [None]
    assert reasons(batch, Thresholds(dup_line_frac=0.099)) == ["gopher_dup_line_frac"]
    words = Thresholds(min_doc_words=58, max_doc_words=58)
    assert reasons(signals([PROSE], "en"), words) == [None]


def test_a_page_is_found_among_others_and_in_a_slice() -> None:
    batch = signals(list(PAGES.values()), "en")
    assert reasons(batch, ENGLISH) == list(PAGES)
    assert reasons(batch.slice(3, 5), ENGLISH) == list(PAGES)[3:8]


UPPER_BOUNDS = [
    "dup_para_frac", "dup_para_char_frac", "dup_line_frac", "dup_line_char_frac",
    "short_line_thr", "char_duplicates_ratio", "new_line_ratio", "max_doc_words",
    "max_avg_word_length", "max_symbol_word_ratio", "max_bullet_lines_ratio",
    "max_ellipsis_lines_ratio",
]  # fmt: skip
LOWER_BOUNDS = [
    "line_punct_thr", "min_doc_words", "min_avg_word_length", "max_non_alpha_words_ratio",
    "min_stop_words",
]  # fmt: skip
BATCH = signals([*PAGES.values(), *(text for text, _ in WITH_BOUNDS.values())], "en")


@given(
    name=st.sampled_from(UPPER_BOUNDS + LOWER_BOUNDS),
    bounds=st.tuples(st.floats(0, 2) | st.integers(0, 100), st.floats(0, 2) | st.integers(0, 100)),
)
def test_looser_thresholds_reject_no_more(name: str, bounds: tuple[float, float]) -> None:
    strict, loose = sorted(bounds, reverse=name in LOWER_BOUNDS)
    fallen = [
        {n for n, reason in enumerate(reasons(BATCH, with_bound(name, bound))) if reason}
        for bound in (strict, loose)
    ]
    assert fallen[1] <= fallen[0]


@given(st.floats(0, 2), st.floats(0, 2), st.sampled_from(["top_n_grams", "dup_n_grams"]))
def test_looser_n_grams_reject_no_more(one: float, other: float, name: str) -> None:
    strict, loose = sorted((one, other))
    fallen = []
    for bound in (strict, loose):
        pairs = tuple((n, bound) for n, _ in getattr(ENGLISH, name))
        found = reasons(BATCH, msgspec.structs.replace(ENGLISH, **{name: pairs}))
        fallen.append({n for n, reason in enumerate(found) if reason})
    assert fallen[1] <= fallen[0]


def with_bound(name: str, bound: float) -> Thresholds:
    return msgspec.structs.replace(ENGLISH, **{name: bound})


def test_stop_words_do_not_judge_pages_in_another_script():
    """Serbian is written in Cyrillic and in Latin script; a corpus may have few pages of one."""
    latin, cyrillic = "abcdefghijklmnopqrstuvwxyz", "абцдефгхијклмнопљрстувњџуз"
    t = Thresholds(stop_words=("the", "и", "у", "је", "да", "се", "на", "за", "не", "од", "који"))
    other = PROSE.lower().translate(str.maketrans(latin, cyrillic))
    found = [reasons(signals([text], "sr"), t)[0] for text in (PROSE, other)]
    assert found == [None, "gopher_enough_stop_words"]
