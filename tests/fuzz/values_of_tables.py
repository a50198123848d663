"""Tables of others, valid as files, with odd values: pages, scores, evaluations, growth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from family import Family, Read, read_pages
from pages_of_corpora import DATED, PARQUET
from tables_and_weights import EVALUATION, PAGE_TABLE, digest, page_table, shard
from values import arrow_of, arrow_values, parquet_of, plain_table, table_values

from data.curation.thresholds import Thresholds
from data.files.parquet_files import read_table
from data.reading import page, records
from data.tasks.description import read_rows
from data.tokens.block_files import LocalFiles
from data.tokens.manifest import Skipped
from data.tokens.shards import SKIP_SCHEMA, read_skipped
from eval import experts, losses
from eval.tasks import predictions
from eval.tasks.comparison import SENTENCES_SCHEMA
from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills
from pipeline.corpus.onto import verdicts
from pipeline.corpus.pages import CorpusFile, page_rows, page_texts, page_urls, whole_pages
from pipeline.curation.late_rules import LateRules
from pipeline.curation.score import SCORES, ScoreFile, Scoring
from pipeline.curation.select import SelectFile
from pipeline.curation.withdraw import named_in
from pipeline.runs.finished import GAPS_SCHEMA, FilledGap, gap_in_words, scored_tokens
from pipeline.runs.tasks import sentence_comparisons
from pipeline.training.log import summary

PAGES = "pages/sw/train-00000-of-00001.parquet"
RULES = LateRules(
    blocked=(), opted_out=(), languages=True, least_share=0.5, benchmarks=True,
    quality={"sw": Thresholds()}, masked=("email", "ip", "phone"), unique_lines=True,
)  # fmt: skip
SCORING = {"benchmarks": (), "identifier": None, "decided": False}
PLAIN_PAGES = plain_table(page.WRITTEN_WITH_CLUSTERS, cluster_size=2)
ONE_LAYER = {"stack": "encoder", "layer": 2, "tokens": 5, "choices": 5}
SKIPPED = plain_table(SKIP_SCHEMA, tokens=1)
COUNTS_SKIPPED = {"pages": 3, "tokens": 3, "text_bytes": 0, "characters": 0, "unknown_tokens": 0,
                  "byte_tokens": 0, "times": 1}  # fmt: skip


def workspace_of(path: Path, folder: str) -> tuple[Workspace, str]:
    """Returns a workspace whose one file is the input, and the corpus or the scores it is in."""
    space = Workspace(str(path.parents[2] / folder), "fuzz")
    space.write_shards([CorpusFile("sw", PAGES, path.stat().st_size)])
    return space, str(path.parents[2])


def beside(path: Path, folder: str, table: pa.Table) -> str:
    """Returns a directory that has a valid table where the input has its own."""
    there = path.parents[2] / folder
    if not (there / PAGES).exists():
        (there / PAGES).parent.mkdir(parents=True)
        (there / PAGES).write_bytes(parquet_of(table))
    return str(there)


def of_corpus(path: Path) -> Read:
    """Reads pages of a corpus as all that follows cleaning does."""
    work = sum(map(len, page_texts(path))) + len(page_urls(str(path)))
    work += len(page_rows(str(path), page.WRITTEN.names, ""))
    space, corpus = workspace_of(path, "scored")
    ScoreFile(space, Scoring(corpus=corpus, **SCORING))(0)
    space, corpus = workspace_of(path, "selected")
    SelectFile(space, corpus, beside(path, "scores", plain_table(SCORES)), RULES, None)(0)
    return Read(work, False)


def of_scores(path: Path) -> Read:
    space, scores = workspace_of(path, "selected")
    SelectFile(space, beside(path, "corpus", PLAIN_PAGES), scores, RULES, None)(0)
    return Read(path.stat().st_size, False)


def rejected(path: Path) -> Read:
    return Read(whole_pages(str(path.parents[1]), f"rejected/{path.name}", "").nbytes, False)


def broken(path: Path) -> Read:
    found = read_table(path, page.BROKEN).combine_chunks().to_batches()
    return Read(sum(len(named_in(batch, ())) for batch in found), False)


def task_rows(path: Path) -> Read:
    return Read(sum(len(str(row)) for row in read_rows(path, ["text", "language"], "t")), False)


def skipped(path: Path) -> Read:
    list_of = Skipped(**COUNTS_SKIPPED, sha256=digest(path))
    name = path.name.removesuffix(".skipped.parquet")
    return Read(
        read_skipped(LocalFiles(path.parent), shard(name=name, skipped=list_of)).nbytes, False
    )


def evaluation(path: Path) -> Read:
    scored_tokens(path)
    summary._held_out(path)
    (found,) = losses.from_tables([(read_table(path, losses.SCHEMA), str(path))])
    return Read(found.loss_nats.nbytes, False)


def routing(path: Path) -> Read:
    table = read_table(path, experts.WRITTEN)
    found = experts.expert_sharing(table, run="a", step=1, origin=str(path))
    experts.by_stack(found)
    experts.expert_use(table, ["habari 0"], [("encoder", 2)], 4, str(path))
    return Read(table.nbytes, False)


def gaps(path: Path) -> Read:
    rows = read_table(path, GAPS_SCHEMA).to_pylist()
    return Read(sum(len(gap_in_words(FilledGap(**row), 80)) for row in rows), False)


def predicted(path: Path) -> Read:
    table = read_table(path, predictions.SCHEMA, predictions.MAY_BE_NULL)
    return Read(len(predictions.from_table(table, str(path)).language), False)


def sentences(path: Path) -> Read:
    sentence_comparisons([{"x": path}], [{"x": path}])
    return Read(path.stat().st_size, False)


def columns(path: str) -> int:
    schema = verdicts.KINDS[Path(path).parent.name]
    return sum(map(len, spills.columns_of(schema, path).values()))


def answers(path: str) -> int:
    return len(verdicts.languages(spills.columns_of(verdicts.ANSWERED, path), {"sw": 0.5}))


def numbers(path: str) -> int:
    return len(spills.read_numbers([path]))


def outcomes(path: str) -> int:
    return len(spills.read_outcomes(path, np.arange(3, dtype=np.uint32)))


def kept_pages(path: str) -> int:
    return sum(
        len(one.text) for batch in spills.batches(path) for one in page.batch_to_pages(batch)
    )


def table(name: str, file: str, read: Callable[[Path], Read], *seeds: bytes) -> Family:
    return Family(name=f"{name}, values", file=file, read=read, seeds=seeds, mutate=table_values)


def growth(kind: str, read_columns: Callable[[str], int]) -> Family:
    """Returns the family of what is kept beside a corpus; an addition checks it, then reads it."""
    schema = verdicts.KINDS[kind]

    def read(path: Path) -> Read:
        spills.check(str(path), schema)
        return Read(read_columns(str(path)), False)

    return Family(
        name=f"growth: {kind}, values", file=f"growth/{kind}/{kind}.arrow", read=read,
        seeds=(arrow_of(plain_table(schema)),), mutate=arrow_values,
    )  # fmt: skip


FAMILIES = (
    table(
        "Parquet pages",
        "train-00000-of-00001.parquet",
        lambda path: read_pages(records.read_parquet(path)),
        *PARQUET,
        DATED,
    ),
    table("pages of a corpus", PAGES, of_corpus, parquet_of(PLAIN_PAGES)),
    table("rejected pages", "rejected/r.parquet", rejected, parquet_of(plain_table(page.REJECTED))),
    table("broken records", "broken/b.parquet", broken, parquet_of(plain_table(page.BROKEN))),
    table("table of scores", PAGES, of_scores, parquet_of(plain_table(SCORES))),
    table("task Parquet", "a.parquet", task_rows, parquet_of(PLAIN_PAGES)),
    table("page table", "train-00000-of-00001.pages.parquet", page_table, PAGE_TABLE),
    table("skipped pages", "train-00000-of-00001.skipped.parquet", skipped, parquet_of(SKIPPED)),
    table("evaluation", "step=4.parquet", evaluation, EVALUATION),
    table(
        "routing",
        "routing-step=4.parquet",
        routing,
        parquet_of(plain_table(experts.WRITTEN, **ONE_LAYER)),
    ),
    table("filled gaps", "gaps-step=4.parquet", gaps, parquet_of(plain_table(GAPS_SCHEMA))),
    table(
        "predictions",
        "p.parquet",
        predicted,
        parquet_of(plain_table(predictions.SCHEMA, task="t", split="test", language="sw")),
    ),
    table(
        "sentences",
        "s.parquet",
        sentences,
        parquet_of(plain_table(SENTENCES_SCHEMA, language="sw", tokens=5, text_bytes=9)),
    ),
    growth(verdicts.CLAIMS, columns),
    growth(verdicts.SIZES, columns),
    growth(verdicts.ANSWERS, answers),
    growth(verdicts.LOST, numbers),
    growth(verdicts.OUTCOMES, outcomes),
    growth(verdicts.PAGES, kept_pages),
)
