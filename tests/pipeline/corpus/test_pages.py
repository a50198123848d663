"""Samples of rejected pages, and the funnel that `mswitch inspect` prints."""

import itertools
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.corpus_manifest import LanguagePages
from data.reading.page import REJECTED, WRITTEN
from eval.funnel import SAMPLES_PER_REASON
from pipeline import artifacts
from pipeline.commands.inspect import Inspect
from pipeline.corpus.pages import read_funnel, sample_languages
from pipeline.errors import ArtifactError
from pipeline.inspection import beginning

TERMINAL = "\x1b]0;owned\x07\x1b[2J[bold]menu[/bold] [/] \u202e\r\n\u0085more"


def write_corpus(out: Path, rejected: dict[str, list[list[str]]]) -> Path:
    """Writes a corpus, given the reasons of rejected pages per language and file."""
    entries = {}
    for code, files in rejected.items():
        page = {"url": "u", "language": code}
        tables = {"pages/{}/train-00000-of-00001": ([page | {"text": "kept"}] * 3, WRITTEN)}
        for number, reasons in enumerate(files):
            rows = [
                page | {"text": f"{reason} {code} {row} {TERMINAL}", "reason": reason}
                for row, reason in enumerate(reasons)
            ]
            tables[f"rejected/{{}}/rejected-0000{number}-of-00002"] = rows, REJECTED
        for name, (rows, schema) in tables.items():
            path = out / f"{name.format(code)}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows, schema), path)
        entries[code] = {"kept": 3, "held_out": 0, "characters": 12} | {
            "rejected": Counter(itertools.chain(*files)),
            "confidence": {"0.10": 2, "0.95": 1},
        }
    body = {"languages": entries, "rules": {"name": "mc4"}, "broken_records": {}}
    artifacts.finish(out, "clean", {}, {}, body)
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A corpus of several thousand short pages; `rare` occurs once, as the last page of English."""
    rejected = {
        "af": [["short"] * 3000],
        "en": [["short"] * 2000, ["short"] * 1999 + ["rare"]],
        "de": [["short", "near_duplicate"] * 2],
        "zh": [["short"] * 5],
        **{code: [["short"]] for code in ("ru", "uk")},
        "und": [["short"] * 2],
    }
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", rejected)


def test_samples_come_from_every_script_before_a_second_language_of_one(corpus):
    samples = {reason.name: reason.samples for reason in read_funnel(str(corpus)).reasons}
    languages = {name: [one.language for one in of] for name, of in samples.items()}
    assert languages["short"] == ["en", "zh", "und", "ru", "af", "uk"]
    assert len(languages["short"]) == SAMPLES_PER_REASON  # of seven
    assert (languages["rare"], languages["near_duplicate"]) == (["en"], ["de", "de"])
    assert all(one.text.startswith(name) for name in samples for one in samples[name])
    no_page = LanguagePages(kept=0, rejected={"bad_words": 0})
    assert sample_languages({"sw": no_page}) == {"bad_words": []}


def test_inspection_prints_the_funnel_and_no_control_characters(corpus, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    Inspect(directory=str(corpus)).execute()
    printed = capsys.readouterr().out
    assert "7,034 pages were read, 21 were kept (0.3%), 0 of them held out" in printed
    assert "In 6 of 6 languages the identifier gives" in printed
    rows = {line.split()[1]: line for line in printed.splitlines() if line.startswith("│")}
    for name, said in (
        ("short", "3,999 en, 3,000 af, 5 zh, 2 de, 3 more"),
        ("rare", "rare en 1999"),
        ("rare", "[bold]menu[/bold]"),
        ("en", "3,999 short, 1 rare"),
        ("en", "33.3"),
    ):
        assert said in rows[name]
    assert printed.replace("\n", "").isprintable()
    assert len(beginning("x" * 500)) == 60


@pytest.mark.parametrize("kind", ["pages", "rejected"])
def test_row_counts_unlike_the_manifest_are_found(tmp_path, kind):
    corpus = write_corpus(tmp_path / "corpus", {"sw": [["short"] * 4]})
    path = next((corpus / kind / "sw").glob("*.parquet"))
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ArtifactError, match=f"{kind}/sw holds . rows and the manifest records"):
        Inspect(directory=str(corpus)).execute()
