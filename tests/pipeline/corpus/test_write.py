"""Which pages an addition holds out."""

import numpy as np
import pytest

from data.rules.held_out import ShareOfEachLanguage
from pipeline.corpus import write
from pipeline.corpus.write import (
    ALL_DIGESTS,
    NO_ADDITION,
    RUN,
    Addition,
    ShardOfGroup,
    _held_out_up_to,
    files_of,
)

RULE = ShareOfEachLanguage(share=0.001, minimum=10, maximum=10_000)


def bound(pages: int, held_out: float | None, added: int) -> float:
    """Returns the part of all digests that is held out; the part of the added pages alone is 1."""
    last = {} if held_out is None else {"sw": f"{int(held_out * ALL_DIGESTS):032x}"}
    addition = Addition(1, last, {"sw": pages}, 1, "")
    return addition.first_training_digest("pages/sw", RULE, added, ALL_DIGESTS) / ALL_DIGESTS


@pytest.mark.parametrize(
    ("pages", "held_out", "added", "part"),
    [
        (30, 1 / 3, 20_000, RULE.count(20_030) / 20_030),  # the share of all its pages
        (30, 1 / 3, 10, 10 / 40),
        (10**6, 0.0009, 10**6, 0.0009),  # it does not rise
        (10**6, 0.0009, 10, 0.0009),
        (0, None, 20_000, 1),  # a new language: by the rule
        # Pages that come back to a language without any are not held out anew.
        (0, 1 / 4, 0, (ALL_DIGESTS // 4 + 1) / ALL_DIGESTS),
    ],
)
def test_a_language_that_grows_holds_out_the_share_of_all_its_pages(pages, held_out, added, part):
    assert bound(pages, held_out, added) == part


def of_shards(*shards: list[int]) -> list[ShardOfGroup]:
    """Returns what shards with pages of these digests have of a group."""
    parts = []
    for shard, digests in enumerate(map(sorted, shards)):
        run = (0, len(digests), 100 * len(digests), digests[0] >> 64, digests[-1] >> 64)
        smallest = b"".join(one.to_bytes(16, "big") for one in digests)
        parts.append(ShardOfGroup(shard, f"{shard}", np.array([run], RUN).tobytes(), b""))
        parts.append(ShardOfGroup(shard, "", b"", smallest))
    return parts


def test_pages_of_one_address_do_not_make_one_file(monkeypatch):
    monkeypatch.setattr(write, "PAGES_PER_FILE", 10)
    apart = [ALL_DIGESTS // 1000 * number for number in range(1, 900)]
    for digests in ([ALL_DIGESTS // 4] * 900, [*[ALL_DIGESTS // 9000] * 300, *apart[:600]]):
        shards = of_shards(*(sorted(digests)[at : at + 10] for at in range(0, len(digests), 10)))
        rule = ShareOfEachLanguage(share=0.001, minimum=10, maximum=20)
        files = [*files_of("pages/sw", shards, rule)]
        held_out = {one: sum(one.first <= digest < one.end for digest in digests) for one in files}
        assert all(len(one.reads) <= 2 for one in files if held_out[one])


def held_out_end(addition: Addition, parts: list[ShardOfGroup]) -> int:
    """Returns the first digest of the training pages."""
    files = files_of("pages/sw", parts, RULE, addition)
    return next(one.first for one in files if one.split == "train")


def test_the_only_page_of_a_language_that_was_trained_on_is_not_held_out_later():
    page = ALL_DIGESTS // 4
    alone = of_shards([page])
    last = _held_out_up_to(files_of("pages/sw", alone, RULE), alone)
    assert last == f"{page - 1:032x}"
    others = [ALL_DIGESTS // 16 * number for number in range(5, 15)]
    addition = Addition(1, {"sw": last}, {"sw": 1}, 1, "")
    assert held_out_end(addition, of_shards([page], [page, *others])) == page
    assert held_out_end(NO_ADDITION, of_shards([page, *others])) > page


def test_pages_that_are_written_again_are_not_counted_twice():
    digests = [ALL_DIGESTS // 100 * number for number in range(1, 71)]
    addition = Addition(1, {"sw": f"{ALL_DIGESTS // 2:032x}"}, {"sw": 60}, 1, "")
    expected = RULE.count(70) * ALL_DIGESTS // 70
    assert held_out_end(addition, of_shards(digests[:60], digests[60:])) == expected


def test_pages_that_were_held_out_stay_so_where_the_bound_falls():
    """A third of 30 pages was held out, and of 2,030 hundreds of others lie below that bound."""
    digests = [ALL_DIGESTS // 2_000 * number for number in range(1, 1_990)]
    again = [digests[at].to_bytes(16, "big") for at in (5, 400, 600)]
    addition = Addition(1, {"sw": f"{ALL_DIGESTS // 3:032x}"}, {"sw": 30}, 1, "")
    files = [*files_of("pages/sw", of_shards([1], digests), RULE, addition, again)]
    split = {
        digest: [
            one.split
            for one in files
            if one.first <= digest < one.end and one.choice(again)(packed)
        ]
        for digest in digests
        for packed in [digest.to_bytes(16, "big")]
    }
    assert all(len(splits) == 1 for splits in split.values())
    held_out = [at for at, digest in enumerate(digests) if split[digest] == ["validation"]]
    assert held_out == [*range(held_out.index(400)), 400, 600]
    assert 5 < held_out.index(400) < 20
