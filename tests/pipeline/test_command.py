"""A command of few lines has help, early refusals, a dry run, a claim, a lock and a resume."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from small_corpora import texts_of, write_corpus

from data.files.atomic import write_text
from pipeline import cli, command_line
from pipeline.artifacts import digest_of_manifest
from pipeline.command import Stage
from pipeline.corpus.pages import read_corpus
from pipeline.fields import BeamOptions, Corpus, In, Out, Range
from pipeline.stage import Identity, Intent, Job, Outcome, Reading, output_lock, staged_job


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count(Stage):
    """Count the pages of a corpus."""

    example: ClassVar = "--corpus corpus --out counted"

    corpus: In[Corpus]
    """Directory that `mswitch clean` wrote."""
    out: Out[str]
    """Directory for count.txt."""
    times: Annotated[int, Range(least=1, most=9)] = 1
    """How often each page counts."""
    beam: BeamOptions = ()

    def jobs(self) -> Iterator[Job]:
        """Yields the count."""
        pages = sum(entry.kept for entry in read_corpus(self.corpus).languages.values())
        intent = Intent(
            stage="count",
            reads=[Reading("corpus", self.corpus, 1, None, f"{pages} pages")],
            writes="count.txt",
            out=self.out,
            identity=Identity({"times": self.times}, {"corpus": digest_of_manifest(self.corpus)}),
        )

        def work() -> Outcome:
            write_text(Path(self.out) / "count.txt", str(self.times * pages))
            return Outcome({}, f"{pages} pages counted, in {self.out}")

        yield staged_job(intent, work)


@pytest.fixture
def corpus(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(command_line.COMMANDS, "count", Count)
    return write_corpus(tmp_path / "corpus", {"sw": texts_of("sw", 4)})


def words(corpus: Path, *more: str) -> list[str]:
    return ["count", f"--corpus={corpus}", f"--out={corpus.parent / 'out'}", *more]


def test_it_has_help_with_an_example(corpus, capsys):
    with pytest.raises(SystemExit):
        cli.run(["count", "--help"])
    printed = capsys.readouterr().out
    assert "Count the pages" in printed
    assert "mswitch count --corpus corpus --out counted" in printed


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--times=10"], "--times was 10; give 1 or more and at most 9."),
        (["--times=x"], "write a whole number"),
        (["--time=2"], "Did you mean --times?"),
        (["--", "--runner=DirectRunner", "--nothing=1"], "--nothing"),
        (["--", "--runner=DataflowRunner", "--project=p", "--region=r",
          "--temp_location=gs://b/t"], "workers"),
    ],
)  # fmt: skip
def test_it_refuses_in_a_sentence_and_writes_nothing(corpus, capsys, more, said):
    assert cli.run(words(corpus, *more)) == 2
    assert said in capsys.readouterr().err
    assert not (corpus.parent / "out").exists()


def test_a_dry_run_writes_nothing_and_a_real_one_claims_the_directory(corpus, capsys):
    out = corpus.parent / "out"
    assert cli.run(words(corpus, "--dry-run")) == 0
    assert "would read corpus" in capsys.readouterr().out
    assert not out.exists()
    with output_lock(out, "count"):
        assert cli.run(words(corpus)) == 2
    assert cli.run(words(corpus)) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"] == {"times": 1}
    assert manifest["inputs"] == {"corpus": digest_of_manifest(corpus)}
    (out / "count.txt").unlink()
    assert cli.run(words(corpus)) == 0  # finished: not done again
    assert not (out / "count.txt").exists()
    assert cli.run(words(corpus, "--times=2")) == 2
    assert "times: there 1, asked 2" in capsys.readouterr().err
