"""Near-duplicates over a corpus: MinHash keys, pairs of pages, connected components, the choice.

A page has one number in the job: its shard and row, mixed so that numbers spread over partitions.
One round pairs pages by key.

Components. A shard has the pairs of its pages, and for each of these pages a label, at first its
own number. In a round, all shards ask for each node of their pairs, and for each label, where it
goes (`data.dedup.minhash`), and then contract their pairs and move their labels. A label that is in
no shard's pairs has no answer: it is final and asked for no more. When no pair is left, pages with
the same label are a group. The rounds grow with the logarithm of the largest group, the bytes sent
with the number of pairs.

Choice. A candidate is a page of a group. In a last round it stays unless it is similar to a page of
its group that stays (`data.dedup.near_duplicates`).
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import UInt32, UInt64

from data.dedup import minhash
from data.dedup.line_dedup import rank_of
from data.dedup.minhash import Edges, Moves, contract_edges, edges, move_labels, pointers, proposals
from data.dedup.near_duplicates import (
    Candidates,
    candidates_of,
    chosen,
    headers_of,
    join,
    pack,
    representatives,
    unpack,
)
from data.files.paths import temporary_folder
from data.numbers import distinct, is_among, splitmix64
from data.reading import page as page_table
from data.reading.page import Page
from pipeline.beam.workspace import Parts, Wave, Waves, Workspace, verdict_path, verdict_paths
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judgements import (
    CLUSTER_SIZES,
    ApplyThresholds,
    DecideThresholds,
    DescribePages,
    Judgement,
    Rows,
    SpilledPages,
    collected_thresholds,
)
from pipeline.corpus.keys import (
    PartitionKeys,
    SortedKeys,
    between,
    by_partition,
    ends_of,
    parts_of,
    sub_ranges,
)
from pipeline.corpus.spills import ROW, page_spill

MINHASH_KEY = np.dtype([("first", "<u8"), ("row", "<u4")])
MINHASH_KEYS = pa.schema(
    [(name, pa.from_numpy_dtype(MINHASH_KEY[name])) for name in MINHASH_KEY.names or ()]
)
SENT = np.dtype([("first", "<u8"), ("page", "<u8")])
EDGES = pa.schema([("page", pa.uint64()), ("with", pa.uint64())])
KEYS_AT_ONCE = 1 << 22  # of a partition, compared in memory: 67 MB


def page_numbers(shard: int, rows: UInt32[np.ndarray, " pages"]) -> UInt64[np.ndarray, " pages"]:
    """Returns the number of each page of a shard: different for every page of the job."""
    return splitmix64((np.uint64(shard) << np.uint64(32)) | rows.astype(np.uint64))


@dataclass(frozen=True)
class SpillMinHashKeys:
    """Spills a shard's pages with their languages, and their MinHash keys.

    Attributes:
        thresholds: exchange that decided the thresholds of languages.
        requested: judgement of the requested languages; empty if all are.
        partitions: number of partitions that keys are sent to.
    """

    workspace: Workspace
    thresholds: DecideThresholds
    requested: tuple[Judgement, ...]
    partitions: int

    name = "resemble"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        thresholds = collected_thresholds(self.thresholds, number)
        judgements = [ApplyThresholds(thresholds), *self.requested]
        source = SpilledPages(DescribePages.name)
        with (
            temporary_folder() as scratch,
            page_spill(self.workspace, self.name, number) as files,
        ):
            keys = SortedKeys(MINHASH_KEY, scratch, self.partitions)
            for passed, dropped, rows in source.chunks(self.workspace, number, judgements):
                files.write(passed, dropped, rows)
                keys.add(minhash_keys_of(passed, rows))
            write_keys(self.workspace, number, keys)
        return files.tally


def write_keys(workspace: Workspace, shard: int, keys: SortedKeys) -> None:
    """Writes the keys of a shard in their order, one batch per range."""
    with spills.writer(workspace, minhash_keys_path(workspace, shard), MINHASH_KEYS) as file:
        for batch in keys.ranges():
            columns = [batch[name] for name in MINHASH_KEYS.names]
            file.write_batch(spills.arrow_batch(MINHASH_KEYS, columns))


def minhash_keys_of(pages: Sequence[Page], rows: Rows) -> np.ndarray:
    """Returns the keys of pages, which have these rows."""
    keys = np.empty((len(pages), minhash.BANDS), MINHASH_KEY)
    for code, places in rows_by_language(pages).items():  # as a key includes its language
        keys["first"][places] = minhash.band_keys([pages[at].text for at in places], code)
    keys["row"] = rows[:, None]
    return keys.ravel()


def rows_by_language(pages: Sequence[Page]) -> dict[str, list[int]]:
    """Returns the rows of each language's pages."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, page in enumerate(pages):
        rows[page.language].append(row)
    return rows


@dataclass(frozen=True)
class PairPages:
    """Pairs each page with the smallest of those that share a key with it.

    A shard collects the pairs of its pages. The smallest page of a key is paired with itself, so
    that its shard has it as a candidate, too.
    """

    workspace: Workspace
    waves: Waves

    name = "alike"

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the keys of a shard's pages, by partition."""
        path, partitions = minhash_keys_path(self.workspace, shard), self.waves.partitions
        for part in parts_of(path, partitions, wave):
            keys = np.empty(part.keys.num_rows, SENT)
            keys["first"] = part.keys["first"].to_numpy()
            keys["page"] = page_numbers(shard, part.keys["row"].to_numpy())
            yield from by_partition(keys, keys["first"], part, partitions)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the pairs of each shard's pages."""
        count = sum(len(part) // SENT.itemsize for _, part in parts)
        width, start = self.waves.width, partition * self.waves.width
        pairs_of: dict[int, list[np.ndarray]] = {shard: [] for shard, _ in parts}
        for first, end in sub_ranges(count, KEYS_AT_ONCE, width.bit_length() - 1):
            for shard, pairs in _pairs_in(parts, start + first, start + end):
                pairs_of[shard].append(pairs)
        for shard, pairs in pairs_of.items():
            yield shard, np.unique(np.concatenate(pairs), axis=0).tobytes()

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the pairs of a shard's pages."""
        pairs = np.unique(_pairs([*verdicts.values()]), axis=0)
        write_pairs(self.workspace, verdict_path(self, shard, wave), pairs)


def _pairs_in(
    parts: Iterable[tuple[int, bytes]], first: int, end: int
) -> Iterator[tuple[int, Edges]]:
    """Yields the pairs of each shard's pages by the keys of a range."""
    shards, by_shard = [], [np.empty(0, SENT)]
    for shard, part in parts:
        keys = np.frombuffer(part, SENT)
        by_shard.append(keys[slice(*between(keys["first"], first, end, 64))])
        shards.append(shard)
    together = np.concatenate(by_shard)
    pairs = edges(together["first"], together["page"])
    smallest = np.unique(pairs[:, 1])
    pairs = np.concatenate([pairs, np.stack([smallest, smallest], axis=1)])
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    for shard, keys in zip(shards, by_shard[1:], strict=True):
        yield shard, pairs[np.isin(pairs[:, 0], keys["page"])]


def write_pairs(workspace: Workspace, path: str, pairs: Edges) -> None:
    """Spills pairs of page numbers."""
    spills.write(workspace, path, EDGES, pairs.T)


def read_pairs(paths: Iterable[str]) -> Edges:
    """Returns the pairs that these files hold together."""
    return np.stack([*spills.columns_of(EDGES, *paths).values()], axis=1)


def minhash_keys_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's keys."""
    return workspace.spill(SpillMinHashKeys.name, shard, ".keys")


PAIRS = "pairs"  # kind of count: pairs that a shard has left
CONTRACT = "contract"
# Files of a shard after a round; FINAL has the labels that this round decided.
EDGES_LEFT, LABELS, FINAL, ASKED = ".pairs", ".labels", ".final", ".asked"
# A number that no page has: its shard and row would both be the largest.
NOBODY = splitmix64(np.array([2**64 - 1], np.uint64))[0]


@dataclass(frozen=True)
class ContractPairs:
    """Moves the labels of a shard's pages and contracts its pairs by the answers of a round.

    Spills both, and what the shard asks in the round that follows.

    Attributes:
        alike: exchange that found the pairs.
        waves: waves of each round.
        number: number of the round that follows; before the first there are no answers.
    """

    alike: PairPages
    waves: Waves
    number: int = 0

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        return self.alike.workspace

    @property
    def name(self) -> str:
        """Name in the workspace."""
        return f"{CONTRACT}-{self.number:02d}"

    def round(self) -> tuple["AskForNodes", "ContractPairs"]:
        """Returns the exchange of the round that follows, and the step after it."""
        asked = AskForNodes(self.workspace, self.waves, self.number)
        return asked, replace(self, number=self.number + 1)

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        pairs, labels, final = self._first(number) if self.number == 0 else self._next(number)
        space, asked = self.workspace, _proposals_and_labels(pairs, labels, self.number)
        for of, table in ((EDGES_LEFT, pairs), (LABELS, labels), (FINAL, final), (ASKED, asked)):
            write_pairs(space, _round_path(space, self.number, number, of), table)
        tally = Tally()
        tally.add(PAIRS, number=len(pairs))
        return tally

    def _first(self, shard: int) -> tuple[Edges, Edges, Edges]:
        pairs = np.unique(read_pairs(verdict_paths(self.alike, shard)), axis=0)
        pages = distinct(pairs[:, 0])
        labels = np.stack([pages, pages], axis=1)
        return pairs[pairs[:, 0] != pairs[:, 1]], labels, labels[:0]

    def _next(self, shard: int) -> tuple[Edges, Edges, Edges]:
        space, before = self.workspace, self.number - 1
        answers = read_pairs(verdict_paths(AskForNodes(space, self.waves, before), shard))
        moves = Moves(answers[:, 0], answers[:, 1])
        pairs = read_pairs([_round_path(space, before, shard, EDGES_LEFT)])
        labels = read_pairs([_round_path(space, before, shard, LABELS)])
        answered = is_among(labels[:, 1], moves.node)
        labels, final = labels[answered], labels[~answered]
        labels = np.stack([labels[:, 0], move_labels(labels[:, 1], moves)], axis=1)
        return contract_edges(pairs, moves), labels, final


def _proposals_and_labels(pairs: Edges, labels: Edges, number: int) -> Edges:
    """Returns the proposals for nodes of pairs; a label that is in no pair here proposes nobody."""
    moves = proposals(pairs, number)
    now = distinct(labels[:, 1])
    others = now[~is_among(now, moves.node)]
    nodes = np.concatenate([moves.node, others])
    to = np.concatenate([moves.to, np.full(len(others), NOBODY)])
    asked = np.stack([nodes, to], axis=1).astype("<u8")
    return asked[np.argsort(nodes)]


@dataclass(frozen=True)
class AskForNodes:
    """A round: where each node of the pairs goes, and each label that is among them."""

    workspace: Workspace
    waves: Waves
    number: int

    @property
    def name(self) -> str:
        """Name in the workspace."""
        return f"nodes-{self.number:02d}"

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields a shard's questions about its nodes."""
        asked = read_pairs([_round_path(self.workspace, self.number, shard, ASKED)])
        partitions = self.waves.partitions
        part = PartitionKeys(0, partitions, asked)
        for partition, nodes in by_partition(asked, asked[:, 0], part, partitions):
            if wave.first <= partition < wave.end:
                yield partition, nodes

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields where the nodes go that each shard asked for."""
        asked = [(shard, _pairs([part])) for shard, part in parts]
        proposed = (pairs[pairs[:, 1] != NOBODY] for _, pairs in asked)
        moves = pointers([Moves(*pairs.T) for pairs in proposed], self.number)
        for shard, pairs in asked:
            nodes = pairs[is_among(pairs[:, 0], moves.node), 0]
            yield shard, np.stack([nodes, move_labels(nodes, moves)], axis=1).tobytes()

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes where the nodes go, in ascending order of the nodes."""
        answers = _pairs([verdicts[partition] for partition in sorted(verdicts)])
        write_pairs(self.workspace, verdict_path(self, shard, wave), answers)


def _pairs(verdicts: Iterable[bytes]) -> Edges:
    """Returns the pairs of page numbers that verdicts hold, in their order."""
    pairs = [np.frombuffer(verdict, "<u8").reshape(-1, 2) for verdict in verdicts]
    return np.concatenate([np.empty((0, 2), np.uint64), *pairs])


def pairs_left(contracted: ContractPairs, shards: int) -> int:
    """Returns how many pairs all shards have left after a step."""
    done = contracted.workspace.records(contracted.name, shards, Tally)
    return sum(tally.number(PAIRS) for tally in done)


Grouped = UInt64[np.ndarray, " pages"]  # numbers of a shard's pages that have a group, ascending


def groups_of(workspace: Workspace, shard: int) -> tuple[Grouped, UInt64[np.ndarray, " pages"]]:
    """Returns the numbers of a shard's pages that have a group, ascending, and their groups."""
    number = 0
    while workspace.is_done(f"{CONTRACT}-{number + 1:02d}", shard):
        number += 1
    paths = [_round_path(workspace, past, shard, FINAL) for past in range(number + 1)]
    labels = read_pairs([*paths, _round_path(workspace, number, shard, LABELS)])
    labels = labels[np.argsort(labels[:, 0])]
    return labels[:, 0], labels[:, 1]


def _round_path(workspace: Workspace, number: int, shard: int, of: str) -> str:
    return workspace.spill(f"{CONTRACT}-{number:02d}", shard, of)


PACKED = pa.schema([("candidates", pa.large_binary())])
ANSWER = np.dtype([("row", "<u4"), ("size", "<i4")])  # size 0: represented by another page
NEAR_DUPLICATE = "near_duplicate"
SIZES = ".sizes"  # files with what candidates stand for
SLICES = 16  # of a chunk's candidates, so that a wave reads only its own
ROW_BITS = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class SpillCandidates:
    """Spills the candidates among a shard's pages, with their shingles.

    Each chunk has one batch per slice of the partitions of groups.
    """

    workspace: Workspace
    partitions: int

    name = "candidates"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""

        def chunks(grouped: Grouped) -> Iterator[tuple[list[Page], Rows]]:
            for batch in spills.batches(self.workspace.spill(SpillMinHashKeys.name, number)):
                rows = batch[ROW].to_numpy()
                at = np.flatnonzero(is_among(page_numbers(number, rows), grouped))
                yield [*page_table.batch_to_pages(batch.take(pa.array(at, pa.int64())))], rows[at]

        return self.spill(number, chunks)

    def spill(
        self, shard: int, chunks: Callable[[Grouped], Iterable[tuple[Sequence[Page], Rows]]]
    ) -> Tally:
        """Spills a shard's candidates.

        Args:
            shard: number of the shard.
            chunks: yields those of its pages that have these numbers, with their rows.
        """
        space, first = self.workspace, np.uint64(shard) << np.uint64(32)
        grouped, groups = groups_of(space, shard)
        with spills.writer(space, space.spill(self.name, shard), PACKED) as file:
            for pages, rows in chunks(grouped):
                at = np.searchsorted(grouped, page_numbers(shard, rows))
                candidates = _candidates(pages, groups[at], first | rows.astype(np.uint64))
                for slice_of_groups in _slices(candidates, min(SLICES, self.partitions)):
                    file.write_batch(spills.arrow_batch(PACKED, [[pack(slice_of_groups)]]))
        return Tally()


def _candidates(pages: Sequence[Page], groups: np.ndarray, names: np.ndarray) -> Candidates:
    ranks = np.array([rank_of(page.url) for page in pages], np.uint64)
    parts = (
        candidates_of(
            [pages[row].text for row in rows], code, groups[rows], names[rows], ranks[rows]
        )
        for code, rows in rows_by_language(pages).items()
    )
    return join(parts)


def _slices(candidates: Candidates, count: int) -> Iterator[Candidates]:
    """Yields the candidates of each range of groups, by group."""
    order = np.argsort(candidates.headers["group"], kind="stable")
    ends = ends_of(candidates.headers["group"][order], 0, count, count)
    for begin, end in itertools.pairwise(ends):
        yield chosen(candidates, order[begin:end])


@dataclass(frozen=True)
class ChoosePages:
    """Collects which candidates stay, and for how many pages each stands."""

    workspace: Workspace
    waves: Waves

    name = "choose"

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields a shard's candidates, by partition of their groups."""
        partitions = self.waves.partitions
        slices = min(SLICES, partitions)
        each = partitions // slices
        with spills.reader(self.workspace.spill(SpillCandidates.name, shard)) as file:
            for number in range(wave.first // each, -(-wave.end // each)):
                candidates = join(
                    unpack(file.get_batch(at)["candidates"][0].as_py())
                    for at in range(number, file.num_record_batches, slices)
                )
                yield from _by_partition(candidates, number * each, each, partitions, wave)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields for each shard's candidates the size of what they stand for, or 0."""
        chosen_pages = representatives(_Elements(parts))
        sizes = np.where(chosen_pages.representative == chosen_pages.page, chosen_pages.size, 0)
        for shard, part in parts:
            pages = headers_of(part)["page"]
            answer = np.empty(len(pages), ANSWER)
            answer["row"] = pages & ROW_BITS
            answer["size"] = sizes[np.searchsorted(chosen_pages.page, pages)]
            yield shard, answer.tobytes()

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the rows of the pages that do not stay, and the sizes of the others."""
        parts = [np.frombuffer(verdict, ANSWER) for verdict in verdicts.values()]
        answers = np.sort(np.concatenate([np.empty(0, ANSWER), *parts]), order="row")
        leaves = answers["size"] == 0
        space = self.workspace
        sizes = [answers[name][~leaves] for name in CLUSTER_SIZES.names]
        spills.write(space, verdict_path(self, shard, wave, SIZES), CLUSTER_SIZES, sizes)
        spills.write_numbers(space, verdict_path(self, shard, wave), answers["row"][leaves])


@dataclass(frozen=True)
class _Elements:
    """The packed candidates of a group of elements, which are read more than once."""

    parts: Iterable[tuple[int, bytes]]

    def __iter__(self) -> Iterator[bytes]:
        return (part for _, part in self.parts)


def _by_partition(
    candidates: Candidates, first: int, count: int, partitions: int, wave: Wave
) -> Iterator[tuple[int, bytes]]:
    order = np.argsort(candidates.headers["group"], kind="stable")
    ends = ends_of(candidates.headers["group"][order], first, first + count, partitions)
    for partition, (begin, end) in enumerate(itertools.pairwise(ends), first):
        if begin < end and wave.first <= partition < wave.end:
            yield partition, pack(chosen(candidates, order[begin:end]))
