"""robots.txt: a round in which pages and the files of their hosts meet, by host.

Shards are the files of the corpus, and after them the files with robots.txt. A page's shard sends
the addresses of each host, a file's shard the answer of each host that the corpus has pages of;
both go to the partition of the host's hash. So a worker holds the hosts of one partition, and a few
hashes of 8 bytes per host of the corpus, however large the crawl is. Hosts often have one text, by
a redirect or by a common program. It is sent once per partition and parsed once there.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from apache_beam.options.pipeline_options import PipelineOptions
from jaxtyping import Bool, UInt64

from data.curation.robots import Robots, read_robots, refused_by
from data.errors import DataError
from data.files.parquet_files import read_table
from data.files.paths import join_path
from data.urls import host_of
from pipeline.beam import job
from pipeline.beam.job import DoExchange, WorkNumbers, do_items
from pipeline.beam.options import in_process, runs_here
from pipeline.beam.workspace import (
    Parts,
    Wave,
    Waves,
    Workspace,
    is_collected,
    verdict_path,
    verdict_paths,
)
from pipeline.corpus.counts import Tally
from pipeline.corpus.pages import CorpusFile, checked_urls, page_urls

ROWS = pa.schema([("row", pa.int64())])
HASHES = pa.schema([("host", pa.uint64())])
SKIPPED = "robots_skipped"  # folder of the workspace
PAGES_PER_PARTITION = 100_000  # some 10 MB of addresses, and the robots.txt of their hosts
# In a wave on this machine, whose memory holds it. Each wave reads all addresses and robots.txt.
PARTITIONS_HERE = 20
THREADS, FILES_AT_ONCE = 16, 256  # that read the hosts of the corpus


Newest = dict[str, Robots]  # by host


class ShardPart(msgspec.Struct, array_like=True):
    """What a shard sends to a partition.

    Attributes:
        addresses: rows and addresses of pages, by host.
        answers: each answer once: whether it is a failure, its text, and by host when it was read.
    """

    addresses: dict[str, list[tuple[int, str]]]
    answers: list[tuple[bool, str, dict[str, str]]]


def add_newest(newest: Newest, file: Robots) -> None:
    """Adds a robots.txt, of which the newest of each host stays."""
    newest[file.host] = max(file, newest.get(file.host, file))


def by_answer(newest: Newest) -> dict[tuple[bool, str], list[Robots]]:
    """Returns the robots.txt files by whether they are a failure, and by their text."""
    files: dict[tuple[bool, str], list[Robots]] = defaultdict(list)
    for file in newest.values():
        files[file.failed, file.content].append(file)
    return files


def answers_of(newest: Newest) -> list[tuple[bool, str, dict[str, str]]]:
    """Returns robots.txt files as a message has them."""
    return [
        (failed, content, {file.host: file.time for file in files})
        for (failed, content), files in by_answer(newest).items()
    ]


def robots_in(part: ShardPart, texts: dict[str, str]) -> Iterator[Robots]:
    """Yields the robots.txt files of a message; equal texts of all messages are one object."""
    for failed, content, times in part.answers:
        text = texts.setdefault(content, content)
        yield from (Robots(time, failed, text, host) for host, time in times.items())


PARTS = msgspec.msgpack.Decoder(ShardPart)  # made before threads start, as `json_files` explains


@dataclass(frozen=True)
class ListHosts:
    """Writes the hashes of the hosts of a file's pages, so that no other robots.txt travels."""

    workspace: Workspace
    corpus: str

    name = "hosts"

    def __call__(self, number: int) -> Tally:
        """Writes those of one file."""
        file = self.workspace.shards(list[CorpusFile])[number]
        urls = checked_urls(join_path(self.corpus, file.name), file.digest)
        hashes = {hash_of(host_of(url)) for url in urls}
        with self.workspace.publish(self.workspace.spill(self.name, number)) as unfinished:
            pq.write_table(pa.table([pa.array(sorted(hashes), pa.uint64())], HASHES), unfinished)
        return Tally()


@functools.lru_cache(maxsize=1)  # read once per process
def hosts_of(workspace: Workspace, files: int) -> UInt64[np.ndarray, " hosts"]:
    """Returns the hashes of all hosts of a corpus, in order.

    A host is in many files. So hashes are joined whenever as many have been read as there are.
    """

    def read(number: int) -> UInt64[np.ndarray, " hosts"]:
        path = workspace.spill(ListHosts.name, number)
        return read_table(path, HASHES)["host"].to_numpy()

    hosts, more = np.empty(0, np.uint64), []
    with ThreadPoolExecutor(THREADS) as threads:  # a store's files one by one would take hours
        for first in range(0, files, FILES_AT_ONCE):
            more += threads.map(read, range(first, min(first + FILES_AT_ONCE, files)))
            if sum(map(len, more)) > len(hosts):
                hosts, more = np.unique(np.concatenate([hosts, *more])), []
    return np.unique(np.concatenate([hosts, *more]))


def is_in(hosts: UInt64[np.ndarray, " hosts"], host: int) -> bool:
    """Returns whether a sorted array holds a hash."""
    at = int(np.searchsorted(hosts, np.uint64(host)))
    return at < len(hosts) and int(hosts[at]) == host


@dataclass(frozen=True)
class AskRobots:
    """Collects the rows of the pages that their host's robots.txt disallows.

    Attributes:
        corpus: corpus that is selected from.
        robots: files with robots.txt.
        agent: name of the robot.
    """

    workspace: Workspace
    waves: Waves
    corpus: str
    robots: tuple[str, ...]
    agent: str

    name = "robots"

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields a file's message to each partition."""
        files, of_wave = self.workspace.shards(list[CorpusFile]), range(*wave)
        parts = self._of_pages if shard < len(files) else self._of_robots
        for partition, part in sorted(parts(shard, files, of_wave).items()):
            yield partition, msgspec.msgpack.encode(part)

    def _of_pages(
        self, shard: int, files: Sequence[CorpusFile], of_wave: range
    ) -> dict[int, ShardPart]:
        parts: dict[int, ShardPart] = defaultdict(lambda: ShardPart({}, []))
        # ListHosts compared the file's digest, once for all waves.
        for row, url in enumerate(page_urls(join_path(self.corpus, files[shard].name))):
            host = host_of(url)
            if host and (partition := self._partition(host)) in of_wave:
                parts[partition].addresses.setdefault(host, []).append((row, url))
        return parts

    def _of_robots(
        self, shard: int, files: Sequence[CorpusFile], of_wave: range
    ) -> dict[int, ShardPart]:
        newest: dict[int, Newest] = defaultdict(dict)
        hosts = hosts_of(self.workspace, len(files))
        for file in self._read_robots(shard, self.robots[shard - len(files)]):
            partition = self._partition(file.host)
            if partition in of_wave and is_in(hosts, hash_of(file.host)):
                add_newest(newest[partition], file)
        return {
            partition: ShardPart({}, answers_of(robots)) for partition, robots in newest.items()
        }

    def _read_robots(self, shard: int, path: str) -> Iterator[Robots]:
        """Yields the robots.txt files of a file; leaves the numbers of what cannot be read."""
        skipped: Counter[str] = Counter()
        files = read_robots(path, skipped)
        first = next(files, None)
        if first is None:
            raise DataError(
                f"{path} should hold robots.txt files and holds none that can be read; name a file "
                "with some, or leave it out."
            )
        yield first
        yield from files
        self.workspace.leave(SKIPPED, f"{shard:05d}", skipped)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the rows of each file that are disallowed; each text is parsed once."""
        pages: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        newest: Newest = {}
        texts: dict[str, str] = {}
        rows: dict[int, list[int]] = {}
        for shard, part in parts:
            sent = PARTS.decode(part)
            for file in robots_in(sent, texts):
                add_newest(newest, file)
            if sent.addresses:
                rows[shard] = []
            for host, addresses in sent.addresses.items():
                pages[host] += ((shard, *address) for address in addresses)
        for files in by_answer(newest).values():
            of_hosts = [page for file in files for page in pages.get(file.host, ())]
            for shard, row in disallowed_pages(files[0], of_hosts, self.agent):
                rows[shard].append(row)
        for shard in sorted(rows):
            yield shard, np.array(sorted(rows[shard]), "<i8").tobytes()

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the rows of a file that are disallowed."""
        rows = np.concatenate(
            [np.empty(0, "<i8"), *(np.frombuffer(rows, "<i8") for rows in verdicts.values())]
        )
        with self.workspace.publish(verdict_path(self, shard, wave)) as unfinished:
            pq.write_table(pa.table([np.sort(rows)], ROWS), unfinished)

    def _partition(self, host: str) -> int:
        return hash_of(host) % self.waves.partitions


def waves_of(pages: int, options: PipelineOptions) -> Waves:
    """Returns the waves of the exchange on this number of pages."""
    partitions = max(1, pages // PAGES_PER_PARTITION)
    return Waves(partitions, PARTITIONS_HERE if runs_here(options) else partitions)


def ask_robots(exchange: AskRobots, files: int, options: PipelineOptions) -> None:
    """Compares the addresses of a corpus of this number of files with robots.txt."""
    do_items(ListHosts(exchange.workspace, exchange.corpus), files, options)
    shards = files + len(exchange.robots)
    for wave in exchange.waves.all():
        if not is_collected(exchange, wave, shards):
            with job.running(in_process(options)) as pipeline:
                _ = pipeline | WorkNumbers(shards) | "AskRobots" >> DoExchange(exchange, wave)


def hash_of(host: str) -> int:
    """Returns a hash of a host, of 64 bits."""
    return xxhash.xxh3_64_intdigest(host.encode())


def disallowed_pages(
    robots: Robots, pages: Sequence[tuple[int, int, str]], agent: str
) -> Iterator[tuple[int, int]]:
    """Yields shard and row of the pages that the robots.txt of their hosts disallows."""
    reasons = refused_by(robots, [url for *_, url in pages], agent)
    return ((shard, row) for (shard, row, _), why in zip(pages, reasons, strict=True) if why)


def disallowed_rows(robots: AskRobots | None, shard: int, pages: int) -> Bool[np.ndarray, " pages"]:
    """Returns which pages of a file are disallowed; none without robots.txt."""
    disallowed = np.zeros(pages, bool)
    for path in [] if robots is None else verdict_paths(robots, shard):
        disallowed[read_table(path, ROWS)["row"].to_numpy()] = True
    return disallowed


def skipped_robots(workspace: Workspace) -> Iterator[str]:
    """Yields a sentence about lines and records with robots.txt that cannot be read, if any."""
    skipped: Counter[str] = sum(map(Counter, workspace.left(SKIPPED, dict[str, int])), Counter())
    if skipped:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in skipped.most_common())
        yield (
            f"{skipped.total():,} lines or records with robots.txt cannot be used and were skipped "
            f"({reasons}); hosts without another one refuse nothing."
        )
