import dataclasses
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.examples import loader
from data.examples.loader import Chunks, batch_order, batches
from data.examples.mixture import Draws, make_schedule
from data.examples.pretraining_examples import Examples
from data.examples.span_corruption import lengths_for_inputs

TOKENS = {"en": 30_000, "sw": 5_000, "yo": 40}
HOSTS = [1, 2, 3, 4, 8]
WEIGHTS = {"en": 0.5, "sw": 0.3, "yo": 0.2}


@pytest.fixture(scope="module")
def examples(tmp_path_factory, make_blocks):
    blocks = make_blocks(tmp_path_factory.mktemp("blocks"), TOKENS)
    return Examples(
        blocks=blocks,
        schedule=make_schedule(WEIGHTS, seed=5),
        lengths=lengths_for_inputs(64),
        first_sentinel=1023,
        seed=5,
    )


@pytest.fixture(scope="module")
def whole(examples):
    """The first eight global batches of 24 rows."""
    return take(examples, 8, rows=24)


def take(examples, count, **settings):
    source = batches(examples, **settings)
    return [next(source) for _ in range(count)]


def rows(batches_):
    return [row.tobytes() for batch in batches_ for row in batch["inputs"]]


def test_an_example_is_a_pure_function_of_its_index(examples):
    """Alone, among others, in another order, or from another object: the same."""
    again = pickle.loads(pickle.dumps(examples))
    indices = np.array([0, 1, 17, 10**12, 3, 65_535, 65_536])
    together = examples.take(indices)
    for row, index in enumerate(indices):
        alone = again.take(np.array([index]))
        for name, values in together.items():
            assert np.array_equal(values[row], alone[name][0])


def test_another_seed_reads_other_windows_and_hides_other_spans(examples):
    """And no two examples of a seed hide by the same random bits."""
    rows, other = np.arange(300), dataclasses.replace(examples, seed=6)
    assert not (examples.random_bits(rows) == other.random_bits(rows)).any()
    starts = [of.segments[0].windows(rows).starts for of in (examples, other)]
    assert np.mean(starts[0] == starts[1]) < 0.1
    assert len({row.tobytes() for row in examples.random_bits(rows)}) == 300


def test_every_example_is_full(examples):
    taken = examples.take(np.arange(300))
    assert taken["inputs"].shape == (300, examples.lengths.inputs)
    assert taken["targets"].shape == (300, examples.lengths.targets)


def test_an_epoch_shows_every_token_of_a_language(examples):
    """The windows of one epoch tile the ring: each token once, a few of the last window twice."""
    (segment,) = examples.segments
    order, stream = segment.orders[0], segment.streams[1][0]
    raw, count = examples.lengths.raw, int(order.windows[1])
    for epoch in (0, 1, 10**6):
        ordinals = epoch * count + np.arange(count)
        starts = order.starts(Draws(np.full(count, 1), np.zeros(count, int), ordinals))
        seen = Counter(stream.read_windows(starts.tolist(), raw).reshape(-1).tolist())
        whole = Counter(stream.read(0, TOKENS["sw"]).tolist())
        assert not whole - seen
        assert (seen - whole).total() == count * raw - TOKENS["sw"]


def test_languages_come_as_often_as_they_should(examples):
    counts = Counter(examples.take(np.arange(1280))["language"].tolist())
    for language, weight in enumerate(WEIGHTS.values()):
        assert counts[language] / 1280 == pytest.approx(weight, abs=0.05)  # 4 standard deviations


def of_host(rows, host, hosts):
    """A host's slice of a batch's rows."""
    return rows.reshape(hosts, -1, *rows.shape[1:])[host]


@pytest.mark.parametrize("rows", [24, 256, 1024])
@pytest.mark.parametrize("hosts", [1, 2, 8])
def test_a_hosts_rows_are_its_own_lanes(rows, hosts):
    """Disjoint and complete; a host's examples are one residue, so it needs 1/H of the blocks."""
    stretches = batch_order(rows).reshape(hosts, -1)
    assert sorted(stretches.reshape(-1).tolist()) == list(range(rows))
    assert {len(set((stretch % hosts).tolist())) for stretch in stretches} == {1}


@pytest.mark.parametrize("hosts", HOSTS)
def test_hosts_share_the_same_global_order(examples, whole, hosts):
    """Also when each chunk is made by a copy of its own."""
    for host in range(hosts):
        source = Chunks(examples, rows=24, batches=2, first_batch=0, host=host, hosts=hosts)
        for number in range(4):
            chunk = pickle.loads(pickle.dumps(source))[number]["inputs"]
            expected = [of_host(batch["inputs"], host, hosts) for batch in whole[2 * number :][:2]]
            assert np.array_equal(chunk, np.stack(expected))


def test_chunks_are_seamless(examples, monkeypatch):
    """Batches depend neither on the size of chunks nor on the first batch."""
    whole = take(examples, 9, rows=24)
    monkeypatch.setattr(loader, "CHUNK_EXAMPLES", 3 * 24)
    assert rows(take(examples, 9, rows=24)) == rows(whole)
    assert rows(take(examples, 4, rows=24, first_batch=5)) == rows(whole[5:])


@pytest.mark.parametrize("after", HOSTS)
@pytest.mark.parametrize("before", HOSTS)
def test_resuming_with_other_hosts_repeats_and_loses_nothing(
    examples, whole, before, after, monkeypatch
):
    """Stopped at a different batch for each pair."""
    monkeypatch.setattr(loader, "CHUNK_EXAMPLES", 48)
    stop = (before + 2 * after) % 8
    parts = [take(examples, stop, rows=24, host=h, hosts=before) for h in range(before)]
    parts += [
        take(examples, 8 - stop, rows=24, first_batch=stop, host=h, hosts=after)
        for h in range(after)
    ]
    assert sorted(row for part in parts for row in rows(part)) == sorted(rows(whole))


@pytest.mark.slow
def test_hosts_in_separate_processes_share_the_global_order(examples, whole, tmp_path):
    path = tmp_path / "examples.pickle"
    path.write_bytes(pickle.dumps(examples))
    code = (
        "import pathlib, pickle, sys\n"
        "from data.examples.loader import batches\n"
        "examples = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "source = batches(examples, rows=24, host=int(sys.argv[2]), hosts=2)\n"
        "print(*(next(source)['inputs'].tobytes().hex() for _ in range(8)))\n"
    )
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(host)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for host in range(2)
    ]
    for host, process in enumerate(hosts):
        found = process.communicate()[0].split()
        assert found == [of_host(batch["inputs"], host, 2).tobytes().hex() for batch in whole]


def test_rows_that_cannot_be_shared(examples):
    with pytest.raises(DataError, match="10 rows cannot be shared by 3 hosts"):
        batches(examples, rows=10, hosts=3)


def test_a_language_without_tokens_is_named(examples):
    with pytest.raises(DataError, match="zu"):
        dataclasses.replace(examples, schedule=make_schedule({"en": 1.0, "zu": 1.0}, seed=0))


def test_the_last_step_of_the_longest_run_has_exact_indices(examples):
    """Steps times rows need 51 bits there; a recipe has at most 2^31 - 1 steps."""
    step, rows = 2**31 - 2, 2**20
    found = Chunks(examples, rows, 1, step, host=3, hosts=4).indices(0)
    own = batch_order(rows).reshape(4, -1)[3].tolist()
    assert found.tolist() == [step * rows + row for row in own]
    drawn = examples.take(found[:100])
    assert drawn["inputs"].min() >= 0
    assert drawn["inputs"].max() <= examples.first_sentinel
