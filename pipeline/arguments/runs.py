"""The commands that read finished runs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.arguments.shared import CacheOptions, Hosts, RunPlace, StageArguments


@dataclass(frozen=True, kw_only=True)
class Evaluate(StageArguments):
    """Score a run's checkpoint: held-out pages, tasks, or the sentences of a parallel text."""

    run: RunPlace
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    tokens: str = ""
    """Directory that `mswitch tokenize` wrote, or its address on an object store: its held-out
    pages are scored, sums and counts, one row per page."""
    task: tuple[str, ...] = ()
    """Tasks whose test data are predicted, as for `finetune`."""
    beams: int = 1
    """Number of beams of the search for answers, with T5's length penalty; 1 is greedy."""
    corpus: str | None = None
    """Corpus of the pretraining, to mark test examples that share text with it."""
    sentences: tuple[str, ...] = ()
    """Tasks whose test texts are scored as sentences: nats per sentence, each token hidden once."""
    step: int | None = None
    """Step of the checkpoint to score; the best or the last one if left out."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, so that a repetition has the same bits; slower. TPUs and CPUs
    always have it."""
    hosts: Hosts = field(default_factory=Hosts)
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Time(StageArguments):
    """Measure the step times of two finished runs side by side: in one process, in turns.

    Both networks, with their optimizer states, have to fit on the devices of this machine together.
    The runs are only read.
    """

    baseline: RunPlace
    """Run of the dense baseline that `mswitch pretrain` finished."""
    candidate: RunPlace
    """Run of the candidate, with the same rows per batch and the same lengths. Naming the baseline
    here as well shows how far the ratio strays from 1 by chance."""
    tokens: str
    """Directory of the tokens that both were trained on, or its address on an object store."""
    out: RunPlace
    """Directory for step_times.json."""
    steps: int = 4
    """Number of steps per round and run. There are 20 rounds, and one before that is not counted;
    a round should take a second or more."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, if the runs were trained with it. TPUs and CPUs always have
    it."""
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Report(StageArguments):
    """Compare runs per language: report.json, report.md, index.html."""

    baseline: tuple[RunPlace, ...]
    """Runs of the dense baseline, one per seed."""
    candidate: tuple[RunPlace, ...]
    """Runs of the candidate, one per seed."""
    out: RunPlace
    """Directory for the report."""
    student: tuple[RunPlace, ...] = ()
    """Dense runs distilled from the candidate, for the share of its gain that they keep. Runs of
    one recipe name are seeds of one student."""
    also: tuple[str, ...] = ()
    """NAME=RUN of further models beside the two sides: losses by language, each with its gain over
    the baseline. Words of one name are seeds of one model."""
    baseline_tasks: tuple[RunPlace, ...] = ()
    """Runs that `mswitch finetune` made from the baseline's, for its scores on tasks. Seeds and
    training languages are those of each run's recipe; with --candidate-tasks."""
    candidate_tasks: tuple[RunPlace, ...] = ()
    """Runs that `mswitch finetune` made from the candidate's, on the same tasks and languages."""
    corpus: str | None = None
    """Directory that `mswitch clean` wrote, local or on an object store, for the funnel and for
    the lines that held-out pages share with training pages."""
    tokens: str | None = None
    """Directory that `mswitch tokenize` wrote, local or on an object store, for training tokens
    and fertility."""
    step_times: RunPlace | None = None
    """Directory that `mswitch time` wrote, of a run of each side, for the time speed-up."""
    allow_differences: bool = False
    """Compare runs that differ beyond the feed-forward; the report lists the differences. Runs of
    different vocabularies, such as an imported mT5, are compared in bits per byte."""


@dataclass(frozen=True, kw_only=True)
class Fill(StageArguments):
    """Fill the gaps of a text with a run's model, or answer a text."""

    text: Annotated[str, tyro.conf.Positional]
    """Text with the gaps <extra_id_0>, <extra_id_1>, ...; for a fine-tuned or imported run also one
    without a gap, in the words of its task, which is answered."""
    run: RunPlace
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    tokens: int = 32
    """Largest number of tokens to generate."""
    temperature: float = 0.0
    """0 takes the most likely token; above 0 tokens are sampled, at 1 from the model's
    distribution."""
    top_k: int = 0
    """Number of most likely tokens to sample from; 0 means all."""
    top_p: float = 1.0
    """Sample from the fewest most likely tokens whose probabilities sum to at least this."""
    seed: int = 0
    """Seed of sampling."""
    hosts: Hosts = field(default_factory=Hosts)


@dataclass(frozen=True, kw_only=True)
class ImportHf(StageArguments):
    """Import a Transformers T5, mT5 or Switch model and its vocabulary as a run."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory with config.json, *.safetensors and spiece.model."""
    out: RunPlace
    """The run's directory; its only checkpoint is step 0."""
    inputs: int = 512
    """Input tokens per row, in evaluation and in further training."""
    rows: int = 32
    """Rows per batch."""


@dataclass(frozen=True, kw_only=True)
class ExportHf(StageArguments):
    """Export a run's network and vocabulary as files that Transformers loads."""

    run: RunPlace
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    out: RunPlace
    """Directory for config.json, model.safetensors (from 5 GB on several files), spiece.model and
    tokenizer.json."""
    step: int | None = None
    """Step of the checkpoint to export; the best or the last one if left out."""
    license: str | None = None
    """Licence that the model card declares, by the hub's name (apache-2.0, ...)."""
    hosts: Hosts = field(default_factory=Hosts)


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Verify any artifact, checksums included, and print its contents."""

    directory: Annotated[str, tyro.conf.Positional]
    """Directory that a command wrote: a corpus, token blocks or a run also by its address on an
    object store."""
    json: bool = False
    """Print the manifest as JSON, with the losses of a run by step, once all is verified."""
    cache: CacheOptions = field(default=CacheOptions())
