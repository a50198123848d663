"""Synthetic finished runs, a corpus and tokens, as the stages write them; 12 pages per language.

Losses are sums of a level, a gain per language that grows with the steps, and noise, so the results
of a report are known. All text that a report shows is hostile markup.
"""

import functools
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from small_blocks import VOCABULARY

from data.files.json_files import write_json
from data.languages import all_languages
from data.tokens.manifest import COUNTS
from pipeline import artifacts
from pipeline.commands.report import Report

DIGEST = "0" * 64
STEPS = [0, *range(100, 1101, 100)]
PAGES = 12
HOSTILE = "</script><img src=x onerror=alert(1)><!--"


def write_report(root: Path) -> Path:
    """Writes the report of two runs per side and two students to `root/out`; returns `root`."""
    sparse = tuple(
        write_run(root / f"switch{n}", experts=8, seed=n, parameters=6_172_835) for n in (0, 1)
    )
    students = tuple(
        write_run(
            root / f"student{n}", experts=None, seed=n + 5, gain=0.3, name="kept", distillation={}
        )
        for n in (0, 1)
    )
    write_routing(sparse[0], experts=8)
    Report(
        baseline=tuple(write_run(root / f"dense{n}", experts=None, seed=n) for n in (0, 1)),
        candidate=sparse,
        student=students,
        corpus=str(write_corpus(root / "corpus")),
        tokens=str(write_tokens(root / "tokens", root / "corpus")),
        out=root / "out",
    ).execute()
    return root


def recipe_in_json(experts: int | None, **settings: object) -> dict[str, Any]:
    """Returns what every recipe records, as JSON values."""
    sizes = {"vocabulary_rows": 1024, "embed": 64, "heads": 4, "head": 16, "mlp": 128, "layers": 2}
    groups = {"every": 1, "encoder_group_tokens": 64, "decoder_group_tokens": 64}
    switch = None if experts is None else {"experts": experts} | groups
    recipe = {"name": "synthetic", "steps": 1, "seed": 0, "rows": 8, "inputs": 64}
    return recipe | {"model": sizes | {"switch": switch}} | settings


def write_run(
    directory: Path,
    *,
    experts: int | None,
    seed: int = 0,
    pieces_per_token: int = 1,
    gain: float | None = None,
    parameters: int = 1_234_567,
    made_from: Mapping[str, str] | None = None,
    **changes: object,
) -> Path:
    """Writes a run whose languages gain from experts by a fixed, language-specific amount.

    A student gains the part `gain` of that. A vocabulary that cuts each token into
    `pieces_per_token` pieces gives the same bits to the same bytes. `made_from` holds digests of
    inputs beside the tokens.
    """
    about = {
        "recipe": recipe_in_json(experts, steps=STEPS[-1], seed=seed, batch=32) | changes,
        "parameters": parameters,
        "flops_per_sequence": 98_765_432,
        "lengths": {"raw": 70, "inputs": 64, "targets": 14},
        "devices": ["cpu", "cpu"],
        "inputs": {"tokens": _digest_of_tokens(_codes()), **(made_from or {})},
    }
    (directory / "evaluation").mkdir(parents=True)
    write_json(directory / "recipe.json", about)
    rng = np.random.default_rng([seed, experts or 0])
    for step in STEPS:
        rows = _evaluation(step, float(experts is not None) if gain is None else gain, rng)
        at, column = rows.schema.get_field_index("target_tokens"), rows["target_tokens"]
        finer = pa.array(column.to_numpy() * pieces_per_token)
        pq.write_table(
            rows.set_column(at, "target_tokens", finer),
            directory / f"evaluation/step={step}.parquet",
        )
    seconds = 0.2 if experts is None else 0.25
    lines = [
        {"step": step, "loss_nats": 3.0, "seconds": seconds, "tokens_per_second": 1e4}
        | ({} if experts is None else {"dropped_share": 0.02})
        for step in range(1, 41)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = {one.code: {"tokens_seen": 1000 + 10 * n} for n, one in enumerate(all_languages())}
    write_json(directory / "mixture.json", {"languages": seen})
    return directory


def write_routing(run: Path, experts: int) -> None:
    """Writes a routing file in which half of each language's tokens use one favourite expert."""
    rows = []
    for stack in ("encoder", "decoder"):
        for number, language in enumerate(all_languages()):
            load = np.full(experts, 100)
            load[number % experts] += 100 * experts
            choices = int(load.sum())
            rows.append(
                {
                    "stack": stack,
                    "layer": 2,
                    "language": language.code,
                    "tokens": choices,
                    "choices": choices,
                    "dropped": number,
                    "entropy_nats": 0.5 * choices,
                    "load": load.tolist(),
                }
            )
    path = run / f"evaluation/routing-step={STEPS[-1]}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)


def _evaluation(step: int, gains: float, rng: np.random.Generator) -> pa.Table:
    rows = []
    for number, language in enumerate(all_languages()):
        of_language = np.random.default_rng(number)
        tokens = of_language.integers(40, 400, PAGES)
        level = 2.2 + 1.6 * of_language.random() + 0.25 * of_language.normal(size=PAGES)
        gain = gains * (0.12 + 0.11 * of_language.normal())
        loss = level - gain * (step / STEPS[-1]) + 5.5 * math.exp(-step / 220)
        loss = loss + 0.03 * rng.normal(size=PAGES)
        rows += [
            {
                "language": language.code,
                "url": f"https://example.org/{language.code}/{page}",
                "loss_nats": float(loss[page] * tokens[page]),
                "target_tokens": int(tokens[page]),
                "text_bytes": int(tokens[page] * (3 + number % 4)),
                "windows": 1,
            }
            for page in range(PAGES)
        ]
    return pa.Table.from_pylist(rows).take(rng.permutation(len(rows)))


def write_corpus(directory: Path) -> Path:
    """Writes a corpus as `mswitch clean` does, with hostile pages, rejected and held out."""
    reasons = ["too_few_long_lines", "language_unreliable", "duplicate_page", "bad_words"]
    languages = {
        language.code: {
            "kept": 1900 - 8 * number,
            "held_out": 12,
            "rejected": {reason: (number * (at + 2)) % 97 for at, reason in enumerate(reasons)},
            "characters": 10**6,
            "removed_lines_by_rule": {"duplicate_line": number},
            "confidence": {"0.00": 3 * number, "0.50": 3, "0.95": 1897 - 11 * number},
            "cld3": {"disagrees": number % 7, "said": {"vi": number % 7}} if number % 7 else None,
        }
        for number, language in enumerate(all_languages())
    }
    for language in all_languages():
        pages = [
            {
                "text": f"{HOSTILE}\nعربى 中文",
                "url": HOSTILE,
                "language": language.code,
                "reason": one,
            }
            for one in reasons
        ]
        path = directory / "rejected" / language.code / "rejected-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(pages), path)
    for split, text in (("train", f"Soma. \n{HOSTILE}"), ("validation", f"{HOSTILE}\n\nAndika.")):
        path = directory / f"pages/sw/{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([{"text": text, "url": HOSTILE}]), path)
    body = {
        "languages": languages,
        "rules": {"name": "demo", "differences_from_mc4": ["No line-length rule.", HOSTILE]},
        "broken_records": {"not_utf8": {"count": 3, "samples": [HOSTILE]}},
        "input": {"files": 2, "records": 10},
    }
    artifacts.finish(directory, "clean", {}, {}, body)
    return directory


def write_tokens(directory: Path, corpus: Path) -> Path:
    """Writes the manifest of `mswitch tokenize` for a corpus, without the tokens."""
    directory.mkdir()
    languages = {
        language.code: {
            "train": _of_one_shard(
                f"{language.code}/train-00000-of-00001",
                pages=100,
                tokens=int(2_000_000 * 0.93**number),
                text_bytes=int(2_000_000 * 0.93**number * (2.5 + number % 5)),
                unknown_tokens=number,
                byte_tokens=7 * number,
            ),
            "validation": _of_one_shard(
                f"{language.code}/validation-00000-of-00001",
                pages=12,
                tokens=2000,
                text_bytes=9000,
            ),
        }
        for number, language in enumerate(all_languages())
    }
    made_of = {"corpus_0": artifacts.digest_of_manifest(corpus)}
    body = {"token_dtype": "<u2", "vocabulary": VOCABULARY, "languages": languages}
    artifacts.finish(directory, "tokenize", {}, made_of, body)
    return directory


def _of_one_shard(name: str, **counts: int) -> dict[str, object]:
    counts = dict.fromkeys(COUNTS, 0) | counts
    digests = {"sha256": DIGEST, "pages_sha256": DIGEST}
    return {**counts, "shards": [{"name": name, **counts, "file_bytes": 65536, **digests}]}


def _codes() -> tuple[str, ...]:
    return tuple(language.code for language in all_languages())


@functools.cache
def _digest_of_tokens(_: tuple[str, ...]) -> str:
    """Returns the digest of the tokens that `write_tokens` writes for these languages."""
    with tempfile.TemporaryDirectory() as name:
        corpus = write_corpus(Path(name) / "corpus")
        return artifacts.digest_of_manifest(write_tokens(Path(name) / "tokens", corpus))
