"""A mixture that changes: examples against a slow reference, one by one, on any number of hosts."""

import dataclasses
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from grown_blocks import grown
from msgspec import to_builtins
from skipped_lists import without

from data.errors import DataError
from data.examples import loader
from data.examples.loader import batches
from data.examples.mixture import BLOCK, Draws, make_schedule
from data.examples.pretraining_examples import Examples, Exposure
from data.examples.segments import Laps, Mixture, MixtureSegment, segments_of
from data.examples.span_corruption import lengths_for_inputs
from data.files.json_files import of_shape
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.shards import manifest_entry

ROWS = 24
LENGTHS = lengths_for_inputs(64)
TOKENS = {"en": 80_000, "sw": 9_000, "yo": 700, "af": 2_000}


@pytest.fixture(scope="module")
def examples(tmp_path_factory, make_blocks):
    """Two changes of weights and one of languages and blocks; `en` has eight regions, `sw` two."""
    root = tmp_path_factory.mktemp("segments")
    blocks = make_blocks(root / "old", TOKENS)
    more = grown(blocks, root / "new", {"en": 7_000, "yo": 900, "zu": 3_000})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.examples.window_order.SECTION_TOKENS", 4_000)
        mixtures = [
            (0, {"en": 0.6, "sw": 0.25, "yo": 0.1, "af": 0.05}, blocks),
            (31, {"yo": 0.3, "en": 0.0015, "sw": 0.6985}, blocks),
            (58, {"en": 0.3, "yo": 0.2, "zu": 0.2, "sw": 0.3}, more),
            (120, {"en": 0.8, "sw": 0.05, "yo": 0.1, "zu": 0.05}, more),
        ]
        made = [Mixture(k * ROWS, make_schedule(w, seed=5), b) for k, w, b in mixtures]
        found = Examples(
            blocks=blocks,
            schedule=made[0].schedule,
            lengths=LENGTHS,
            first_sentinel=1023,
            seed=5,
            later=tuple(made[1:]),
        )
        counts = found.segments[2].scheduled[0].counts
        assert counts.shape == (2, 16)
        assert found.segments[1].schedule.parts[1] == 4  # fewer parts than regions
        yield found


def test_a_change_is_what_a_slow_reference_reads(examples):
    """Windows of the first 200 batches, drawn one by one, with a list per lap."""
    expected = slow_windows(examples.segments, 200 * ROWS)
    for segment, rows in examples.by_segment(np.arange(200 * ROWS)):
        found = segment.windows(rows)
        codes = [segment.schedule.languages[number] for number in found.languages.tolist()]
        pairs = list(zip(codes, found.pieces.tolist(), found.starts.tolist(), strict=True))
        assert pairs == expected[rows[0] : rows[-1] + 1]


def slow_windows(segments: list[MixtureSegment], count: int) -> list[tuple[str, int, int]]:
    """Returns language, piece and start of each example; counts are kept by adding one."""
    read: dict[tuple[str, int, int], int] = defaultdict(int)
    found = []
    for number, segment in enumerate(segments):
        end = segments[number + 1].first if number + 1 < len(segments) else count
        for language, code in enumerate(segment.schedule.languages):
            one, kept = segment.scheduled[language], set(read)
            for piece, counts in enumerate(one.counts.tolist()):
                for region, size in enumerate(counts):  # a new piece has the epoch of the others
                    if (code, piece, region) not in kept and piece:
                        epoch = read[code, 0, region] // one.counts[0, region]
                        read[code, piece, region] = int(epoch) * size
        draws = segment.schedule.draw(np.arange(end - segment.first))
        lists: dict = {}
        for language, part in zip(draws.languages.tolist(), draws.parts.tolist(), strict=True):
            code = segment.schedule.languages[language]
            if (language, part) not in lists:
                parts, one = segment.schedule.parts[language], segment.scheduled[language]
                lists[language, part] = slow_laps(code, one.counts, read.copy(), part, parts)
            piece, region, ordinal = next(lists[language, part])
            assert ordinal == read[code, piece, region]  # a region's windows follow each other
            read[code, piece, region] += 1
            of = segment.scheduled[language].pieces[piece]
            found.append((code, piece, of.order, (of.row, region, ordinal)))
    return with_starts(found)


def with_starts(found: list) -> list[tuple[str, int, int]]:
    """Returns the rows with the start of their windows instead of order and draw."""
    starts = np.empty(len(found), np.int64)
    for order in {id(order): order for _, _, order, _ in found}.values():
        rows = [row for row, one in enumerate(found) if one[2] is order]
        starts[rows] = order.starts(Draws(*np.array([found[row][3] for row in rows]).T))
    named = zip(found, starts.tolist(), strict=True)
    return [(code, piece, start) for (code, piece, _, _), start in named]


def slow_laps(code, counts, read, part: int, parts: int) -> Iterator[tuple[int, int, int]]:
    mine = range(part, counts.shape[1], parts)
    regions = [[(piece, region) for region in mine] for piece in range(len(counts))]
    epochs = [
        max(read[code, *one] - 1, 0) // counts[one]  # one that has just ended is the present one
        for piece in regions
        for one in piece
        if counts[one] > 0
    ]
    epoch = int(max(epochs))
    while True:
        left: list = []
        for number, piece in enumerate(regions):
            more = []
            for one in piece:
                end = (epoch + 1) * int(counts[one])
                more += [(*one, ordinal) for ordinal in range(read[code, *one], end)]
                read[code, *one] = end
            left = slow_turns(left, more) if number else more
        yield from left
        epoch += 1


def slow_turns(old: list, new: list) -> list:
    total, sources, found = len(old) + len(new), (iter(old), iter(new)), []
    for rank in range(total):
        is_old = (rank + 1) * len(old) // total > rank * len(old) // total
        found.append(next(sources[0] if is_old else sources[1]))
    return found


def test_examples_before_a_change_do_not_know_of_it(examples):
    alone = dataclasses.replace(examples, later=examples.later[:1])
    indices = np.arange(58 * ROWS - 300, 58 * ROWS)
    expected, found = alone.take(indices), examples.take(indices)
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])
    after = np.arange(58 * ROWS, 58 * ROWS + 300)
    assert (alone.take(after)["inputs"] != examples.take(after)["inputs"]).any()


def test_an_epoch_is_ended_before_a_page_is_repeated(examples):
    """`yo`, read in part: what is left of its windows, and the added ones once each."""
    sizes = [int(one.sum()) for one in reading(examples, "yo").counts]
    shown: list[list[int]] = [[], []]
    for piece, start in windows_of(examples, "yo", 200 * ROWS):
        shown[piece].append(start)
        if len(shown[1]) == sizes[1] and len(shown[0]) % sizes[0] == 0:
            break
    for starts, size, tokens in zip(shown, sizes, (700, 900), strict=True):
        epochs = len(starts) // size
        seen = Counter(
            token % tokens for start in starts for token in range(start, start + LENGTHS.raw)
        )
        assert len(seen) == tokens
        assert min(seen.values()) == epochs
        # A ring's last window overlaps its first, and nothing else is shown twice.
        assert seen.total() - epochs * tokens == epochs * (size * LENGTHS.raw - tokens)
    assert len(shown[0]) // sizes[0] > 1


def reading(examples: Examples, code: str):
    return examples.segments[2].readings[code]


def windows_of(examples: Examples, code: str, count: int) -> Iterator[tuple[int, int]]:
    """Yields piece and start of a language's windows, in the order of examples."""
    for segment, rows in examples.by_segment(np.arange(count)):
        found = segment.windows(rows)
        mine = found.languages == segment.schedule.languages.index(code)
        yield from zip(found.pieces[mine].tolist(), found.starts[mine].tolist(), strict=True)


@pytest.mark.parametrize("hosts", [1, 2, 3, 4, 8])
def test_a_run_resumes_across_changes_on_any_number_of_hosts(examples, hosts, monkeypatch):
    """Chunks that cross changes, begun before and between them."""
    monkeypatch.setattr(loader, "CHUNK_EXAMPLES", 48)
    again = pickle.loads(pickle.dumps(examples))
    for first in (29, 56, 119):
        indices = np.arange(first * ROWS, (first + 4) * ROWS)
        whole = sorted(row.tobytes() for row in examples.take(indices)["inputs"])
        sources = [
            batches(again, rows=ROWS, first_batch=first, host=host, hosts=hosts)
            for host in range(hosts)
        ]
        taken = [next(source)["inputs"] for source in sources for _ in range(4)]
        assert sorted(row.tobytes() for part in taken for row in part) == whole


def test_the_cursor_of_a_far_change_takes_no_counting(examples):
    """After ten million blocks each language has read exactly its quota of each."""
    far = BLOCK * 10**7
    mixture = examples.later[0]._replace(first=far)
    moved = dataclasses.replace(examples, later=(mixture,))
    for code, quota in zip(examples.schedule.languages, examples.schedule.quotas, strict=True):
        assert moved.segments[1].readings[code].read.sum() == quota * 10**7


def test_other_blocks_begin_a_language_anew(examples, tmp_path, make_blocks):
    other = make_blocks(tmp_path, {"sw": 9_000, "yo": 900})
    mixture = Mixture(7 * ROWS, make_schedule({"sw": 1.0, "yo": 1.0}, seed=5), other)
    changed = dataclasses.replace(examples, later=(mixture,)).segments[1]
    assert [len(one.pieces) for one in changed.scheduled] == [1, 1]
    assert changed.scheduled[1].read.sum() == 0
    assert changed.anew == ("sw", "yo")
    assert changed.readings["en"].read.sum() > 0  # kept, should it come back


def test_the_exposure_adds_up_over_segments(examples):
    count = 190 * ROWS
    seen = Counter(examples.take(np.arange(count))["language"].tolist())
    found = examples.exposure(count)
    assert list(found) == list(examples.languages) == ["en", "sw", "yo", "af", "zu"]
    for number, one in enumerate(found.values()):
        assert one.examples == pytest.approx(seen[number], rel=0.1)
    assert sum(one.weight for one in found.values()) == pytest.approx(1)


def test_the_exposure_of_two_mixtures_by_hand(tmp_path, make_blocks):
    """Windows of 70 tokens; 40 examples of the first mixture, then 24 of blocks with more `yo`."""
    blocks = make_blocks(tmp_path / "old", {"sw": 9_000, "yo": 700})
    more = grown(blocks, tmp_path / "new", {"yo": 300})
    examples = Examples(
        blocks=blocks,
        schedule=make_schedule({"sw": 3.0, "yo": 1.0}, seed=5),
        lengths=LENGTHS,
        first_sentinel=1023,
        seed=5,
        later=(Mixture(40, make_schedule({"yo": 1.0}, seed=5), more),),
    )
    assert examples.exposure(40) == {
        "sw": Exposure(0.75, 30, 30 * 70, pytest.approx(30 * 70 / 9_000)),
        "yo": Exposure(0.25, 10, 10 * 70, pytest.approx(10 * 70 / 700)),
    }
    assert examples.exposure(64) == {
        "sw": Exposure(30 / 64, 30, 30 * 70, pytest.approx(30 * 70 / 9_000)),
        "yo": Exposure(34 / 64, 34, 34 * 70, pytest.approx(10 * 70 / 700 + 24 * 70 / 1_000)),
    }


def test_a_later_language_without_tokens_is_named(examples):
    mixture = Mixture(ROWS, make_schedule({"zu": 1.0}, seed=0), examples.blocks)
    with pytest.raises(DataError, match="The mixture contains zu"):
        dataclasses.replace(examples, later=(mixture,))


def test_pages_that_left_are_in_no_window_after_a_change(tmp_path, make_blocks):
    """The windows stay where they were; one that began in such a page begins as far after it."""
    blocks = make_blocks(tmp_path / "old", {"sw": 9_000})
    more = grown(blocks, tmp_path / "new", {"sw": 500})
    entry = more.manifest.languages["sw"]["train"]
    skip = [[number % 3 == 1 for number in range(shard.pages)] for shard in entry.shards[:2]]
    old = [without(more, *both) for both in zip(entry.shards, skip, strict=False)]
    left = {"sw": {"train": manifest_entry([*old, entry.shards[2]])}}
    shown = of_shape(to_builtins(more.manifest) | {"languages": left}, TokenManifest, "here")
    schedule = make_schedule({"sw": 1.0}, seed=5)
    segments = [
        segments_of([Mixture(0, schedule, blocks), Mixture(ROWS, schedule, one)], 64, seed=5)[1]
        for one in (more, TokenBlocks(more.directory, shown))
    ]
    rows = ROWS + np.arange(100)
    windows = [segment.windows(rows) for segment in segments]
    assert all(map(np.array_equal, *windows))
    before, after = (segment.streams[0][0] for segment in segments)
    assert len(before) == len(after) == 9_000
    gone = np.repeat([one for some in skip for one in some], 300)
    for start in windows[0].starts[windows[0].pieces == 0].tolist():
        ring = np.arange(start, start + 9_000) % 9_000
        into = start % 300 if gone[start % 9_000] else 0
        expected = before.read(start, 9_000)[~gone[ring]][into : into + 64]
        assert after.read(start, 64).tolist() == expected.tolist()


def test_a_language_begins_anew_if_all_pages_of_an_old_piece_left(tmp_path, make_blocks):
    """Its windows could be read nowhere, and the run would end at the change."""
    blocks = make_blocks(tmp_path / "old", {"sw": 600, "yo": 600})
    more = grown(blocks, tmp_path / "new", {"sw": 500, "yo": 500})
    *old, new = more.manifest.languages["sw"]["train"].shards
    gone = [without(more, shard, [True] * shard.pages) for shard in old]
    left = to_builtins(more.manifest)
    left["languages"]["sw"]["train"] = manifest_entry([*gone, new])
    shown = TokenBlocks(more.directory, of_shape(left, TokenManifest, "here"))
    schedule = make_schedule({"sw": 1.0, "yo": 1.0}, seed=5)
    changed = [Mixture(0, schedule, blocks), Mixture(ROWS, schedule, shown)]
    segment = segments_of(changed, 64, seed=5)[1]
    assert segment.anew == ("sw",)
    assert [len(pieces) for pieces in segment.streams] == [1, 2]


def test_text_added_at_a_low_share_lies_in_all_regions(tmp_path, make_blocks, monkeypatch):
    """Its epochs end together when the share rises: 16 regions, of which 4 parts read all."""
    monkeypatch.setattr("data.examples.window_order.SECTION_TOKENS", 2_000)
    blocks = make_blocks(tmp_path / "old", {"en": 40_000, "sw": 9_000})
    more = grown(blocks, tmp_path / "new", {"en": 8_000})
    weights = [({"en": 0.9, "sw": 0.1}, blocks), ({"en": 0.0015, "sw": 0.9985}, more)]
    weights.append(({"en": 0.9, "sw": 0.1}, more))
    mixtures = [Mixture(k * ROWS, make_schedule(w, seed=5), b) for k, (w, b) in enumerate(weights)]
    low, high = segments_of(mixtures, 64, seed=5)[1:]
    assert (low.schedule.quotas[0], low.schedule.parts[0], high.schedule.parts[0]) == (98, 4, 16)
    old, new = low.scheduled[0].counts
    assert np.ptp(new) <= 1
    drawn = high.schedule.drawn(20 * BLOCK)[0, :16]
    epochs = drawn / (old + new)
    assert epochs.max() < 1.1 * epochs.min()


@pytest.mark.parametrize("drawn", [[90, 90, 90], [40, 150, 60], [60, 0, 220]])
def test_a_part_of_several_regions_ends_their_epoch_before_it_begins_another(drawn):
    """Also if a change comes when some of its regions are read to their end."""
    counts, read = np.full((1, 4), 100), np.full((1, 4), 40)
    shown: list[tuple[int, int]] = []
    for number in drawn:
        laps = Laps(counts, read, 1)
        found = laps.locate(np.zeros(number, int), np.arange(number))
        shown += zip(found.regions.tolist(), found.ordinals.tolist(), strict=True)
        read = laps.after(np.array([number]))
    left = {(region, ordinal) for region in range(4) for ordinal in range(40, 100)}
    assert set(shown[: len(left)]) == left
    assert min(ordinal for _, ordinal in shown[len(left) :]) == 100
