"""Samples of rejected pages, and the funnel that `mswitch inspect` prints."""

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
        for number, reasons in enumerate(files):
            rows = [
                {"text": f"{reason} {code} {row} {TERMINAL}", "url": "u", "language": code}
                | {"reason": reason}
                for row, reason in enumerate(reasons)
            ]
            path = out / "rejected" / code / f"rejected-0000{number}-of-00002.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows, schema=REJECTED), path)
        path = out / "pages" / code / "train-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        kept = [{"text": "kept", "url": "u", "language": code}] * 3
        pq.write_table(pa.Table.from_pylist(kept, schema=WRITTEN), path)
        entries[code] = {
            "kept": 3,
            "held_out": 0,
            "rejected": dict(sum(map(Counter, files), Counter())),
            "characters": 12,
            "confidence": {"0.10": 2, "0.95": 1},
        }
    body = {"languages": entries, "rules": {"name": "mc4"}, "broken_records": {}}
    artifacts.finish(out, "clean", {}, {}, body)
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A corpus of several thousand short pages; `rare` occurs once, as the last page of English."""
    return write_corpus(
        tmp_path_factory.mktemp("corpus") / "corpus",
        {
            "af": [["short"] * 3000],
            "en": [["short"] * 2000, ["short"] * 1999 + ["rare"]],
            "de": [["short", "near_duplicate"] * 2],
            "zh": [["short"] * 5],
            "ru": [["short"]],
            "uk": [["short"]],
            "und": [["short"] * 2],
        },
    )


def test_samples_come_from_every_script_before_a_second_language_of_one(corpus):
    samples = {reason.name: reason.samples for reason in read_funnel(str(corpus)).reasons}
    languages = [one.language for one in samples["short"]]
    assert languages == ["en", "zh", "und", "ru", "af", "uk"]
    assert [one.language for one in samples["rare"]] == ["en"]
    assert [one.language for one in samples["near_duplicate"]] == ["de", "de"]
    assert all(one.text.startswith(name) for name in samples for one in samples[name])


def test_reasons_without_pages_have_no_sample_languages():
    swahili = LanguagePages(kept=0, rejected={"short": 2, "bad_words": 0})
    entries = {"sw": swahili, "en": LanguagePages(kept=0)}
    assert sample_languages(entries) == {"short": ["sw"], "bad_words": []}
    one = LanguagePages(kept=0, rejected={"short": 1})
    many = dict.fromkeys(("af", "de", "en", "es", "fr", "it", "nl"), one)
    assert len(sample_languages(many)["short"]) == SAMPLES_PER_REASON


def test_inspection_prints_the_funnel_and_no_control_characters(corpus, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    Inspect(directory=str(corpus)).execute()
    printed = capsys.readouterr().out
    assert "7,034 pages were read, 21 were kept (0.3%), 0 of them held out" in printed
    rows = {line.split()[1]: line for line in printed.splitlines() if line.startswith("│")}
    assert "3,999 en, 3,000 af, 5 zh, 2 de, 3 more" in rows["short"]
    assert "rare en 1999" in rows["rare"]
    assert "[bold]menu[/bold]" in rows["rare"]
    assert "3,999 short, 1 rare" in rows["en"]
    assert "33.3" in rows["en"]
    assert "In 6 of 6 languages the identifier gives" in printed
    assert printed.replace("\n", "").isprintable()


def test_text_is_cut_and_keeps_to_one_printable_line():
    assert beginning("two\nlines\t\x1b[31m of text") == "two lines [31m of text"
    assert len(beginning("x" * 500)) == 60


@pytest.mark.parametrize("kind", ["pages", "rejected"])
def test_row_counts_unlike_the_manifest_are_found(tmp_path, kind):
    corpus = write_corpus(tmp_path / "corpus", {"sw": [["short"] * 4]})
    path = next((corpus / kind / "sw").glob("*.parquet"))
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ArtifactError, match=f"{kind}/sw holds . rows and the manifest records"):
        Inspect(directory=str(corpus)).execute()
