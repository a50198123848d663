"""All windows of a held-out page, which evaluations cut one by one."""

from data.examples.held_out_batches import window, window_count


def windows(page, lengths, first_sentinel):
    """Returns the corrupted windows of a page."""
    count = window_count(len(page.tokens), lengths.raw)
    return [window(page, number, lengths, first_sentinel) for number in range(count)]
