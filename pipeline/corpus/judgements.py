"""Judgements: functions of a page, applied one after the other until one drops it.

A judgement returns the page, perhaps changed; or `Rejected`, with a reason; or `NotAsked`, if its
language was not requested. It is a rule (`Page -> reason | None`), a cleaner of lines, or a
decision on the language. Judgements are pickled for the workers. Identifiers cannot be pickled, so
each process loads them at their first use.

The pages of a step are those of an earlier one, without the duplicates of an exchange. With
`mswitch-web` a page's language is accepted by a threshold that follows from all pages.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from jaxtyping import Float64, UInt32

from data.errors import concerns_one_page
from data.language_id import cld3, identifiers
from data.language_id.combined import CombinedIdentifier
from data.language_id.identifiers import Identifier
from data.language_id.thresholds import STEPS, MedianLessDeviation, decide, steps_of
from data.languages import NO_LANGUAGE, UNDETERMINED, codes
from data.numbers import is_among
from data.reading import page as page_table
from data.reading.page import Dropped, NotAsked, Page, Rejected, Rule
from data.rules import english_lines, web_lines
from data.rules.english_lines import Cleaned
from pipeline.beam.workspace import (
    Exchange,
    Parts,
    Wave,
    Waves,
    Workspace,
    verdict_path,
    verdict_paths,
)
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.keys import collected_numbers
from pipeline.corpus.spills import ROW, page_spill

Judgement = Callable[[Page], Page | Dropped]


class PageRules(NamedTuple):
    """The judgements of a job, in the order in which a page meets them.

    Attributes:
        read: of what the page alone shows.
        first: before lines are compared, or before all pages decide the thresholds of languages.
        requested: of the requested languages, after thresholds.
        last: after lines were compared.
    """

    read: tuple[Judgement, ...]
    first: tuple[Judgement, ...]
    requested: tuple[Judgement, ...]
    last: tuple[Judgement, ...]


JUDGEMENT_FAILED = "judgement_failed"
LONGEST_CLASS_NAME = 60  # characters of it in a reason


def judge_page(page: Page, judgements: Iterable[Judgement]) -> Page | Dropped:
    """Returns the page after all judgements, or the result of the first that drops it.

    A page on which a judgement fails is rejected as it was read, so `rejected/` has its address and
    text. The reason has the class of the exception: `judgement_failed_key_error`.
    """
    for judge in judgements:
        try:
            outcome = judge(page)
        except BaseException as error:
            if not concerns_one_page(error):
                raise
            return Rejected(page, _reason_of(error))
        if not isinstance(outcome, Page):
            return outcome
        page = outcome
    return page


def _reason_of(error: BaseException) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(error).__name__).lower()
    return f"{JUDGEMENT_FAILED}_{re.sub('[^a-z0-9_]', '', words)[:LONGEST_CLASS_NAME]}"


@dataclass(frozen=True)
class RejectByRule:
    """Rejects a page if the rule returns a reason."""

    rule: Rule

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        reason = self.rule(page)
        return page if reason is None else Rejected(page, reason)


def clean_english_lines(page: Page) -> Page | Rejected:
    """Applies C4's English line rules, which remove lines and reject pages."""
    return _cleaned_page(page, english_lines.clean(page.text))


@dataclass(frozen=True)
class IdentifyLanguage:
    """Sets the identified language; keeps "und", and rejects languages that mC4 does not have.

    Applied after line deduplication, as in the reference: until then such a page can keep a line
    that other pages lose.
    """

    certain_probability: float
    model: str | None

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = _identifier(self.model).identify(page.text)
        language = answer.language_above(self.certain_probability)
        return _in_mc4(
            page._replace(
                identified_language=language,
                language=language,
                language_probability=answer.probability,
            )
        )


@dataclass(frozen=True)
class KeepEnglish:
    """Keeps pages that langdetect identifies as English with enough probability."""

    certain_probability: float

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = identifiers.identify_by_langdetect(page.text)
        reason = identifiers.why_not_english(answer, self.certain_probability)
        if reason is not None or answer is None:
            return Rejected(page, reason or "language_unidentifiable")
        return page._replace(
            identified_language="en", language="en", language_probability=answer.probability
        )


@dataclass(frozen=True)
class CheckDeclaredLanguage:
    """Sets the declared language; records the identified one for comparison."""

    certain_probability: float
    model: str | None

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = _identifier(self.model).identify(page.text)
        identified = answer.language_above(self.certain_probability)
        language = page.declared_language or UNDETERMINED
        return page._replace(
            identified_language=identified,
            language=language,
            language_probability=answer.probability if identified == language else 0.0,
        )


@dataclass(frozen=True)
class RecordLanguage:
    """Records the combined identification and its probability, from which thresholds follow.

    Text that is not a language is rejected before, as it would count for some language's threshold.
    """

    model: str | None

    def __call__(self, page: Page) -> Page | Rejected:
        """Identifies one page."""
        answer = _combined_identifier(self.model).identify(page.text)
        if answer.language == NO_LANGUAGE:
            return Rejected(page, "not_a_language")
        return page._replace(
            identified_language=answer.language, language_probability=answer.probability
        )


@dataclass(frozen=True)
class ApplyThresholds:
    """Sets the recorded language if it reaches its threshold; otherwise the page is "und"."""

    thresholds: Mapping[str, float]

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer, probability = page.identified_language, page.language_probability
        language = decide(answer, probability, self.thresholds)
        return _in_mc4(page._replace(identified_language=language, language=language))


def clean_web_lines(page: Page) -> Page | Rejected:
    """Applies `mswitch-web`'s line rules, which remove lines and reject pages."""
    return _cleaned_page(page, web_lines.clean(page.text))


def use_declared_language(page: Page) -> Page:
    """Sets the page's declared language, without identification."""
    language = page.declared_language or UNDETERMINED
    return page._replace(language=language, identified_language=language)


@dataclass(frozen=True)
class KeepRequestedLanguages:
    """Keeps pages of the requested languages.

    Applied as soon as the language is known: at reading, where the declared language counts.
    """

    languages: frozenset[str]

    def __call__(self, page: Page) -> Page | NotAsked:
        """Judges one page."""
        return page if page.counted_language in self.languages else NotAsked(page)


def _in_mc4(page: Page) -> Page | Rejected:
    if page.language in mc4_languages():
        return page
    # Counted under "und", as the manifest has no such language.
    return Rejected(page._replace(language=UNDETERMINED), "language_not_in_mc4")


def _cleaned_page(page: Page, cleaned: Cleaned) -> Page | Rejected:
    text, removed, reason = cleaned
    if reason is not None:
        return Rejected(page, reason)
    return page._replace(text=text, removed_lines=(*page.removed_lines, *sorted(removed.items())))


@functools.cache
def _identifier(model: str | None) -> Identifier:
    return cld3.identifier(model)


@functools.cache
def _combined_identifier(model: str | None) -> CombinedIdentifier:
    return CombinedIdentifier(model)


@functools.cache
def mc4_languages() -> frozenset[str]:
    """Returns mC4's languages, and "und"."""
    return frozenset(codes(None)) | {UNDETERMINED}


Rows = UInt32[np.ndarray, " pages"]  # of pages within their shard, as they were read
CLUSTER_SIZES = pa.schema([("row", pa.uint32()), ("size", pa.int32())])


@dataclass(frozen=True)
class SpilledPages:
    """Pages of an earlier step.

    Attributes:
        step: name of the step that spilled the pages.
        exchange: exchange whose verdicts are the rows of duplicates, if any.
        reason: reason for which duplicates are rejected.
        sizes: name of the exchange's files with the sizes of clusters, if it has any.
    """

    step: str
    exchange: Exchange | None = None
    reason: str = ""
    sizes: str = ""

    def chunks(
        self, workspace: Workspace, shard: int, judgements: Sequence[Judgement]
    ) -> Iterator[tuple[list[Page], list[Dropped], Rows]]:
        """Yields per chunk the pages that pass, those that are dropped, and the former's rows."""
        duplicates, sizes = np.empty(0, np.uint32), {}
        if self.exchange is not None:
            duplicates = collected_numbers(self.exchange, shard)
            if self.sizes:
                paths = verdict_paths(self.exchange, shard, self.sizes)
                columns = spills.columns_of(CLUSTER_SIZES, *paths).values()
                sizes = dict(zip(*(column.tolist() for column in columns), strict=True))
        for batch in spills.batches(workspace.spill(self.step, shard)):
            rows = batch[ROW].to_numpy()
            passed: list[Page] = []
            dropped: list[Dropped] = []
            passes = np.zeros(len(rows), dtype=bool)
            is_duplicate = is_among(rows, duplicates).tolist()
            numbered = zip(rows.tolist(), page_table.batch_to_pages(batch), strict=True)
            for at, (row, page) in enumerate(numbered):
                if row in sizes:
                    page = page._replace(cluster_size=sizes[row])
                outcome = (
                    Rejected(page, self.reason)
                    if is_duplicate[at]
                    else judge_page(page, judgements)
                )
                passes[at] = isinstance(outcome, Page)
                passed.append(outcome) if isinstance(outcome, Page) else dropped.append(outcome)
            yield passed, dropped, rows[passes]


CERTAINTY = "certainty"  # kind of count: pages of a language by identified probability
THRESHOLDS = pa.schema([("language", pa.string()), ("threshold", pa.float64())])
WHOLE = Waves(1, 1)  # one partition: some 100 kB of counts from each shard

Counted = dict[str, dict[str, int]]  # pages by language and step of its probability


@dataclass(frozen=True)
class DescribePages:
    """Spills a shard's pages that pass the judgements; counts the probabilities of languages."""

    workspace: Workspace
    source: SpilledPages
    judgements: tuple[Judgement, ...]

    name = "describe"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        with page_spill(self.workspace, self.name, number) as files:
            for passed, dropped, rows in self.source.chunks(
                self.workspace, number, self.judgements
            ):
                files.write(passed, dropped, rows)
                count_certainties(
                    files.tally,
                    [page.identified_language for page in passed],
                    np.array([page.language_probability for page in passed], float),
                )
        return files.tally


def count_certainties(
    tally: Tally, languages: Iterable[str], certainties: Float64[np.ndarray, " pages"]
) -> None:
    """Counts pages by identified language and step of its probability."""
    for code, step in zip(languages, steps_of(certainties).tolist(), strict=True):
        tally.add(CERTAINTY, code, str(step))


@dataclass(frozen=True)
class DecideThresholds:
    """Collects each language's threshold, from the probabilities of the pages of all shards."""

    workspace: Workspace
    certainty: MedianLessDeviation

    name = "thresholds"
    waves = WHOLE

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the shard's counts of probabilities."""
        tally = self.workspace.record(DescribePages.name, shard, Tally)
        yield wave.first, msgspec.json.encode(tally.counts.get(CERTAINTY, {}))

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the thresholds, the same for each shard."""
        histograms: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(STEPS + 1, np.int64))
        for _, part in parts:
            for code, steps in msgspec.json.decode(part, type=Counted).items():
                for step, count in steps.items():
                    histograms[code][int(step)] += count
        thresholds = {code: self.certainty.threshold(counts) for code, counts in histograms.items()}
        for shard, _ in parts:
            yield shard, msgspec.json.encode(dict(sorted(thresholds.items())))

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the thresholds for a shard."""
        (thresholds,) = [
            msgspec.json.decode(verdict, type=dict[str, float]) for verdict in verdicts.values()
        ]
        path = verdict_path(self, shard, wave)
        spills.write(
            self.workspace, path, THRESHOLDS, [list(thresholds), list(thresholds.values())]
        )


def collected_thresholds(exchange: DecideThresholds, shard: int) -> dict[str, float]:
    """Returns each language's threshold, as a shard has collected them."""
    (path,) = verdict_paths(exchange, shard)
    (batch,) = spills.batches(path)
    languages, values = (column.to_pylist() for column in batch.columns)
    return dict(zip(languages, values, strict=True))
