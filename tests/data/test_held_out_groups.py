import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.held_out import ShareOfEachLanguage
from data.held_out_groups import held_out_pages
from data.line_rules import as_numbers, keep_lines, keepers, rank_of, unicode_line_hashes
from data.page_graph import edges

QUOTA = ShareOfEachLanguage(share=0.25, minimum=1, maximum=4)
LINES = st.sampled_from(
    ["Home", "home ", "Menu", "Habari", "Ẹ̀tọ́", "E\u0323\u0300to\u0323\u0301", "a", "b"]
)
UNIQUE = st.integers(0, 10**6).map("line {}".format)
PAGES = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.lists(LINES | UNIQUE, min_size=1, max_size=3)),
    min_size=1,
    max_size=24,
)


def split(pages: list[tuple[int, list[str]]]) -> np.ndarray:
    numbers = np.arange(len(pages), dtype=np.uint64)
    hashes = [unicode_line_hashes("\n".join(lines)) for _, lines in pages]
    keys = as_numbers([line for lines in hashes for line in lines])[:, 0]
    return held_out_pages(
        numbers,
        np.array([language for language, _ in pages]),
        edges(keys, np.repeat(numbers, list(map(len, hashes)))),
        QUOTA,
    )


def lines_of(pages: list[tuple[int, list[str]]], chosen: np.ndarray) -> set[bytes]:
    some = (lines for (_, lines), one in zip(pages, chosen, strict=True) if one)
    return {line for lines in some for line in unicode_line_hashes("\n".join(lines))}


@given(PAGES)
def test_no_line_is_on_both_sides(pages):
    held_out = split(pages)
    assert not lines_of(pages, held_out) & lines_of(pages, ~held_out)


@given(PAGES)
def test_no_quota_is_exceeded(pages):
    languages = np.array([language for language, _ in pages])
    held_out = split(pages)
    for language in (0, 1):
        mine = languages == language
        assert held_out[mine].sum() <= QUOTA.count(int(mine.sum()))


@given(st.integers(0, 40))
def test_pages_that_share_nothing_fill_the_quota_in_order(count):
    pages = [(0, [f"line {page}"]) for page in range(count)]
    expected = QUOTA.count(count)
    assert not pages or split(pages).tolist() == [page < expected for page in range(count)]


def test_a_group_that_is_too_large_trains():
    pages = [(0, ["Menu", f"page {page}"]) for page in range(5)] + [(0, ["alone"])] * 1
    assert split(pages).tolist() == [False] * 5 + [True]


@given(PAGES)
def test_after_line_deduplication_any_split_is_safe(pages):
    """The invariant that lets `mswitch-web` take pages by their address alone."""
    texts = {f"http://{n}.example/": "\n".join(lines) for n, (_, lines) in enumerate(pages)}
    hashes = [unicode_line_hashes(text) for text in texts.values()]
    ranks = np.repeat(np.array([rank_of(url) for url in texts], np.uint64), list(map(len, hashes)))
    every = as_numbers([line for lines in hashes for line in lines])
    stays = iter(keepers(every, ranks, np.arange(len(every), dtype=np.uint64)).tolist())
    left = [
        keep_lines(text, [next(stays) for _ in lines])
        for text, lines in zip(texts.values(), hashes, strict=True)
    ]
    seen = [line for text in left if text for line in unicode_line_hashes(text)]
    assert len(seen) == len(set(seen))
