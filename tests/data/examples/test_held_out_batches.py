import numpy as np
from held_out_windows import windows

from data.examples.held_out_batches import batches, held_out_pages
from data.examples.span_corruption import EOS, lengths_for_inputs
from data.tokens.shards import TokenizedPage

LENGTHS = lengths_for_inputs(64)
FIRST_SENTINEL = 1023


def page(tokens: int, url: str = "https://a.example") -> TokenizedPage:
    return TokenizedPage(url, np.arange(3, 3 + tokens), 4 * tokens, 2 * tokens)


def test_each_token_of_a_page_is_seen_or_hidden_once():
    parts = windows(page(3 * LENGTHS.raw + 10), LENGTHS, FIRST_SENTINEL)
    assert len(parts) == 4
    tokens = [t for part in parts for side in part for t in side.tolist() if 3 <= t < 900]
    assert sorted(tokens) == list(range(3, 3 + 3 * LENGTHS.raw + 10))


def test_what_is_hidden_depends_on_address_and_window_only():
    one, again, other = (
        windows(page(200, url), LENGTHS, FIRST_SENTINEL) for url in ("https://a", "https://a", "b")
    )
    assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(one, again, strict=True))
    assert any(not np.array_equal(a.inputs, b.inputs) for a, b in zip(one, other, strict=True))


def test_windows_of_a_page_hide_different_places():
    same = np.full(2 * LENGTHS.raw, 7)
    one, other = windows(TokenizedPage("https://a", same, 1, 1), LENGTHS, FIRST_SENTINEL)
    assert not np.array_equal(one.inputs, other.inputs)


def test_a_single_token_has_no_window():
    assert windows(page(1), LENGTHS, FIRST_SENTINEL) == []
    assert len(windows(page(LENGTHS.raw + 1), LENGTHS, FIRST_SENTINEL)) == 1


def test_batches_have_one_shape_and_lose_no_window(tmp_path, make_blocks):
    pages = held_out_pages(make_blocks(tmp_path, {"en": 900, "sw": 700}))
    made = list(batches(pages, LENGTHS, first_sentinel=FIRST_SENTINEL, rows=7))
    assert {batch.inputs.shape for batch in made} == {(7, LENGTHS.inputs)}
    owners = np.concatenate([batch.page for batch in made])
    expected = [
        number
        for number, held_out in enumerate(pages)
        for _ in windows(held_out.page, LENGTHS, FIRST_SENTINEL)
    ]
    assert sorted(owners[owners >= 0].tolist()) == expected
    assert (np.concatenate([b.targets for b in made])[owners < 0] == 0).all()


def test_every_batch_mixes_languages_and_the_order_is_fixed(tmp_path, make_blocks):
    pages = held_out_pages(make_blocks(tmp_path, {code: 6000 for code in ("en", "sw", "yo")}))
    made, again = (
        list(batches(pages, LENGTHS, first_sentinel=FIRST_SENTINEL, rows=8)) for _ in range(2)
    )
    for batch, same in zip(made, again, strict=True):
        np.testing.assert_array_equal(batch.page, same.page)
    languages = [{pages[at].language for at in batch.page if at >= 0} for batch in made[:-1]]
    assert all(len(mixed) > 1 for mixed in languages)


def test_the_end_of_a_target_is_not_scored(tmp_path, make_blocks):
    """Its position is the window's length, which is not a property of a language."""
    pages = held_out_pages(make_blocks(tmp_path, {"en": 900}))
    for batch in batches(pages, LENGTHS, first_sentinel=FIRST_SENTINEL, rows=7):
        assert not (batch.targets == EOS).any()
        assert (batch.inputs == EOS).any(axis=1)[batch.page >= 0].all()


def test_hosts_cut_the_rows_of_one_together(tmp_path, make_blocks):
    pages = held_out_pages(make_blocks(tmp_path, {"en": 900, "sw": 700}))
    rows = np.arange(6)

    def made(cut):
        return list(batches(pages, LENGTHS, first_sentinel=FIRST_SENTINEL, rows=6, cut=cut))

    for whole, one, other in zip(*map(made, (None, rows[::2], rows[1::2])), strict=True):
        for name in ("inputs", "targets"):
            parts = getattr(one, name), getattr(other, name)
            np.testing.assert_array_equal(getattr(whole, name)[::2], parts[0])
            np.testing.assert_array_equal(getattr(whole, name)[1::2], parts[1])
        np.testing.assert_array_equal(whole.page, one.page)


def test_pages_of_a_language_are_capped(tmp_path, make_blocks):
    blocks = make_blocks(tmp_path, {"en": 900, "sw": 700})
    whole, capped = held_out_pages(blocks), held_out_pages(blocks, 1)
    assert [page.language for page in capped] == ["en", "sw"]
    assert {page.page.url for page in capped} < {page.page.url for page in whole}
