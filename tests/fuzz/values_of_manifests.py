"""Manifests and other JSON and YAML files of others, valid as such, with odd values.

`inspect` and `clean --onto` run in this process, up to the job.
"""

import functools
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import tables_and_weights
from artifacts import CLEAN, RUN, TOKENS, as_json, read_recipe
from family import Family, Mutate, Read
from pages_of_corpora import LINES
from scores_of_pages import THRESHOLDS, thresholds
from small_corpora import texts_of, write_corpus
from tasks_of_users import DESCRIPTIONS, description
from values import json_lines_values, json_values, parquet_of, plain_table, yaml_values

from data.corpus_manifest import CorpusManifest
from data.curation.thresholds import Thresholds
from data.tokens.manifest import TokenManifest
from pipeline.arguments import Clean
from pipeline.artifacts import read_manifest
from pipeline.corpus import pages
from pipeline.corpus.counts import total
from pipeline.corpus.job import VERSION, base_of
from pipeline.corpus.onto.verdicts import GrowthFiles, digest_of_languages
from pipeline.corpus.request import cleaning_request, intent_of
from pipeline.curation.score import SCORES
from pipeline.fields import CacheOptions
from pipeline.inspection import inspect, json_of
from pipeline.recipe.named import requested_recipe, switch_demo
from pipeline.recipe.recipe import recipe_to_json
from pipeline.runs.finished import read_run
from pipeline.terminal import Terminal
from pipeline.training.log.summary import PrunedManifest, Trained

HEAD = {"schema_version": 2, "code_version": "0.1.0", "settings": {"a": {"b": [1]}}, "inputs": {}}
DIGEST = "a" * 64


def content_of(name: str) -> bytes:
    """Returns a file of the fixture."""
    (content,) = tables_and_weights.fixture((name,))
    return content


@functools.cache
def corpus() -> Mapping[str, bytes]:
    """Returns the files of a small corpus, by name."""
    with tempfile.TemporaryDirectory() as directory:
        top = write_corpus(Path(directory), {code: texts_of(code, 3) for code in ("sw", "ja")})
        files = (path for path in top.rglob("*") if path.is_file())
        return {str(path.relative_to(top)): path.read_bytes() for path in files}


def head(stage: str, **fields: object) -> bytes:
    return as_json(HEAD | {"stage": stage} | fields)


CORPUS = as_json(
    json.loads(corpus()["manifest.json"]) | {
        "not_asked": {"pages": {"en": 2}, "files": {"en": 1}}, "license": "odc-by",
        "broken_records": {}, "input": {"files": 1}, "addition": {"lineage": [DIGEST]},
        "selected_from": [DIGEST], "withdrawals": [{"key": "k", "manifest": DIGEST}],
        "history": [{"stage": "clean", "languages": {"sw": {"rejected": {"a": 1}}}}],
        "kept_beside": {"pages": 9},
    }
)  # fmt: skip
TABLE = "pages/sw/train-00000-of-00001.parquet"
OF_SCORES = {"sw": {"pages": 3, "thresholds": msgspec.to_builtins(Thresholds())}}
VOCABULARY = content_of("vocabulary/manifest.json")
TOKEN_SHARDS = [f"sw/{split}-00000-of-00001" for split in ("train", "validation")]
_BLOCKS = json.loads(content_of("tokens/manifest.json"))
BLOCKS = as_json(_BLOCKS | {"languages": {"sw": _BLOCKS["languages"]["sw"]}})
BLOCK_FILES = ["sentencepiece.model", *(
    f"{name}.{end}" for name in TOKEN_SHARDS for end in ("arrayrecord", "pages.parquet")
)]  # fmt: skip
RUN_FILES = (
    "recipe.json", "metrics.jsonl", "mixture.json", "sentencepiece.model", "manifest.json",
    *(f"evaluation/{name}step=4.parquet" for name in ("", "gaps-", "routing-")),
)  # fmt: skip
SHA256 = hashlib.sha256(b"a").hexdigest()
SIDE = {"run": "r", "recipe": "a", "seed": 0, "step": 4, "recipe_sha256": DIGEST}
ROUND = {"first": "baseline", "baseline_seconds": 1.5, "candidate_seconds": 2.0}
TIMES = {
    "baseline": SIDE, "candidate": SIDE, "steps_per_round": 3, "rounds": [ROUND] * 5,
    "devices": ["cpu"], "machine": {}, "versions": {},
}  # fmt: skip
CHANGES = {"changes": [{"step": 2, "setting": "steps", "before": 4, "after": 8}]}
BEST = {"step": 2, "score": 50.0, "scores": {"2": 50.0, "4": 49.5}}
GROWTH = {
    "version": VERSION, "generation": 0, "rules": "demo",
    "share": {"share": 0.1, "minimum": 1}, "languages": ["sw", "ja"], "bad_words": None,
    "identifier": None, "input": [[["https://a.example/a.wet", 9]]],
    "files": [["pages/sw/train-00000-of-00002.parquet", 0, 1]],
    "held_out_up_to": {"sw": "0" * 32}, "thresholds": {"sw": 0.5}, "tallies": [DIGEST],
    "table": digest_of_languages(),
}  # fmt: skip
TALLY = {
    "counts": {"kept": {"sw": {"train": 3}}, "rejected": {"sw": {"too_short": 2}}},
    "broken": {"no_text": [["a.wet", 5]]}, "smallest": {"sw": ["0" * 32]}, "runs": [],
    "digests": {"pages": DIGEST},
}  # fmt: skip


def directory_of(path: Path, file: str, others: Mapping[str, bytes]) -> Path:
    """Returns the directory that an input is a file of, with its other files beside it."""
    top = path.parents[file.count("/")]
    for name, content in others.items():
        if top / name != path and not (top / name).exists():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(content)
    return top


def inspected(
    name: str,
    seed: bytes,
    others: Callable[[], Mapping[str, bytes]] = dict,
    file: str = "manifest.json",
    mutate: Mutate = json_values,
) -> Family:
    """Returns the family of a file that `inspect` reads in an artifact of its own."""

    def read(path: Path) -> Read:
        top, printed = directory_of(path, file, others()), io.StringIO()
        inspect(str(top), Terminal(file=printed), CacheOptions())
        return Read(len(printed.getvalue()) + len(json.dumps(json_of(str(top)))), False)

    folder = name.replace(" ", "-")
    return Family(
        name=f"inspect: {name}, values", file=f"{folder}/{file}", seeds=(seed,), read=read,
        mutate=mutate,
    )  # fmt: skip


def of_run(name: str, file: str, seed: bytes, mutate: Mutate = json_values) -> Family:
    """Returns the family of a file of a run, which `inspect` and a report read."""
    claim = {"unfinished.json": head("pretrain")}

    @functools.cache
    def others() -> dict[str, bytes]:
        return run_files() | claim

    family = inspected(f"run, {name}", seed, others, file, mutate)

    def read(path: Path) -> Read:
        found = family.read(path)
        (top := path.parents[file.count("/")])
        read_run(top)
        return found

    return Family(name=family.name, file=family.file, seeds=(seed,), read=read, mutate=mutate)


@functools.cache
def run_files() -> dict[str, bytes]:
    names = [name for name in RUN_FILES if name != "manifest.json"]
    found = tables_and_weights.fixture([f"switch/{name}" for name in names])
    return dict(zip(names, found, strict=True))


def with_its_digest(path: Path) -> Read:
    """Reads step times, whose digest is in the manifest."""
    (path.parent / "manifest.json").write_bytes(
        head("time", sha256=tables_and_weights.digest(path))
    )
    printed = io.StringIO()
    inspect(str(path.parent), Terminal(file=printed), CacheOptions())
    return Read(len(printed.getvalue()), False)


def added_to(file: str) -> Callable[[Path], Read]:
    """Returns the reader of a file of a corpus that `clean --onto` adds to."""
    others = {
        **corpus(),
        "manifest.json": CORPUS, "growth/growth.json": as_json(GROWTH), "in/a.json": LINES,
        "growth/tally/00000.json": as_json(TALLY), "growth/pages/00000.arrow": b"",
    }  # fmt: skip

    def read(path: Path) -> Read:
        top = str(directory_of(path, file, others))
        growth = GrowthFiles(top)
        tally = growth.kept(0)
        total([tally])
        tally.counters()
        intent = intent_of(
            cleaning_request(Clean(input=(f"{top}/in/a.json",), out=f"{top}-new", onto=top))
        )
        base_of(growth)
        lines = [*pages.lineage_of(top), *pages.sources_of(top), *map(str, intent.reads)]
        pages.has_unique_lines(pages.read_corpus(top))
        pages.training_sizes([top])
        pages.corpus_digests([top])
        return Read(sum(map(len, lines)), False)

    return read


def json_file(name: str, file: str, read: Callable[[Path], Read], *seeds: bytes) -> Family:
    return Family(name=f"{name}, values", file=file, seeds=seeds, read=read, mutate=json_values)


def manifest(stage: str, *bodies: type) -> Callable[[Path], Read]:
    """Returns the reader of a stage's manifest."""

    def read(path: Path) -> Read:
        for body in bodies:
            read_manifest(path.parent, stage, body)
        return Read(1, False)

    return read


def config(path: Path) -> Read:
    return Read(len(str(requested_recipe("", path))), False)


def yaml_file(name: str, file: str, read: Callable[[Path], Read], seeds: Sequence[bytes]) -> Family:
    return Family(name=f"{name}, values", file=file, seeds=seeds, read=read, mutate=yaml_values)


def block_files() -> dict[str, bytes]:
    found = tables_and_weights.fixture([f"tokens/{name}" for name in BLOCK_FILES])
    return dict(zip(BLOCK_FILES, found, strict=True))


FAMILIES = (
    json_file(
        "manifest of clean",
        "clean/manifest.json",
        manifest("clean", CorpusManifest),
        as_json(CLEAN),
    ),
    json_file(
        "manifest of tokenize",
        "tokens/manifest.json",
        manifest("tokenize", TokenManifest),
        as_json(TOKENS),
    ),
    json_file(
        "manifest of prune",
        "pruned/manifest.json",
        manifest("prune", PrunedManifest, Trained),
        head("prune", steps=4, kept={"encoder, layer 2": [0, 3]}),
    ),
    json_file("recipe of a run", "recipe.json", read_recipe, as_json(RUN)),
    inspected("clean", CORPUS, corpus),
    inspected(
        "scores",
        head("score", languages=OF_SCORES),
        lambda: {TABLE: parquet_of(plain_table(SCORES))},
    ),
    inspected("tokens", BLOCKS, functools.cache(block_files)),
    inspected(
        "vocabulary", VOCABULARY, lambda: {"sentencepiece.model": tables_and_weights.VOCABULARY}
    ),
    inspected(
        "report", head("report", sentence="A is better.", files={"a": SHA256}), lambda: {"a": b"a"}
    ),
    inspected("export", head("export-hf", arrays=3, files={"a": SHA256}), lambda: {"a": b"a"}),
    inspected(
        "times",
        head("time", sha256=hashlib.sha256(as_json(TIMES)).hexdigest()),
        lambda: {"step_times.json": as_json(TIMES)},
    ),
    json_file("step times", "step_times.json", with_its_digest, as_json(TIMES)),
    of_run("claim", "unfinished.json", head("pretrain")),
    of_run("recipe", "recipe.json", run_files()["recipe.json"]),
    of_run("mixture", "mixture.json", run_files()["mixture.json"]),
    of_run("log", "metrics.jsonl", run_files()["metrics.jsonl"], json_lines_values),
    of_run("changes", "changes.json", as_json(CHANGES)),
    json_file("corpus added to", "manifest.json", added_to("manifest.json"), CORPUS),
    json_file("growth", "growth/growth.json", added_to("growth/growth.json"), as_json(GROWTH)),
    json_file(
        "growth: counts",
        "growth/tally/00000.json",
        added_to("growth/tally/00000.json"),
        as_json(TALLY),
    ),
    yaml_file("configuration", "config.yaml", config, [as_json(recipe_to_json(switch_demo()))]),
    yaml_file("task", "task.yaml", description, DESCRIPTIONS),
    yaml_file("thresholds", "swh_Latn.yml", thresholds, [THRESHOLDS]),
)
