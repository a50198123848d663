"""`mswitch finetune`: a finished run and tasks in, a fine-tuned run and its predictions out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from data.languages import codes
from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import (
    CacheOptions,
    Corpus,
    FinishedRun,
    Hosts,
    In,
    Languages,
    Out,
    Overrides,
    RunPlace,
    Tokens,
    TrackerName,
)
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Finetune(Stage):
    """Fine-tune a finished run on text-to-text tasks; the same command again resumes.

    Defaults of mT5 and Switch: a constant rate of 0.001, dropout 0.1 and 0.4 in experts, 1,000
    steps with an evaluation every 200. The checkpoint with the best score on development data is
    kept, and scored on test data at the end.
    """

    example: ClassVar = "--run runs/switch --task topics.yaml --out runs/topics"

    run: In[FinishedRun]
    """Finished or imported run; its last checkpoint, or its best, is fine-tuned."""
    task: tuple[str, ...]
    """Tasks: descriptions (FILE.yaml, FILE.json; docs/tasks.md), or shipped ones with the directory
    of their data (sib200=DIR)."""
    out: Out[RunPlace]
    """The fine-tuned run's directory: the files of `pretrain`, tasks/ and best.json."""
    languages: Languages = ()
    """Languages of the training examples; all if left out. Several are also those of the scores;
    one alone is the zero-shot mode, in which all are scored."""
    each_language: bool = False
    """One run per language, on its examples alone, in OUT-LANGUAGE each."""
    tokens: In[Tokens] = ""
    """Tokens of the pretraining to mix in, with --pretraining-share."""
    pretraining_share: float = 0.0
    """Share of rows taken from pretraining, which prevents answers in the wrong language (mT5:
    0.01)."""
    corpus: In[Corpus] | None = None
    """Directory that `mswitch clean` wrote: examples that share 13 words in a row with its pages
    are marked, so that scores can be read without them."""
    teacher: In[FinishedRun] | None = None
    """Fine-tuned run on the same tasks to distill, into a dense --run."""
    seeds: tuple[int, ...] = ()
    """Seeds of several runs, one after the other, in OUT-SEED each."""
    overrides: Overrides = ()
    """field=value, as for `pretrain`; also finetuning.dropout, finetuning.targets."""
    track: tuple[TrackerName, ...] = ()
    """Trackers that also get recipe, metrics and scores, as for `pretrain`."""
    profile: tuple[int, int] | None = None
    """First and last step to trace, into RUN/profile."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, so that a resumed run has the same bits; slower. TPUs and CPUs
    always have it."""
    hosts: Hosts = field(default_factory=Hosts)
    cache: CacheOptions = field(default=CacheOptions())

    def check(self) -> None:
        """Checks the seeds, and that several hosts train one run."""
        from pipeline.recipe.overrides import check_seeds

        check_seeds(self.seeds, self.overrides)
        if self.hosts.count > 1 and (self.seeds or self.each_language):
            raise ArtifactError(
                f"Several runs were asked for on {self.hosts.count} hosts; give one command per "
                "run there, with --set seed=NUMBER or --languages CODE instead of --seeds or "
                "--each-language."
            )

    def jobs(self) -> Iterator[Job]:
        """Yields the job of each run: one, or one per seed and language."""
        from pipeline.runs.directory import directory_of_part, one_per_seed
        from pipeline.training.tasks.finetuning import Programs, finetuning
        from pipeline.training.tasks.given_tasks import read_tasks, trainable

        held: list[Programs] = []  # compiled for the run before
        languages = codes(self.languages) if self.languages else ()
        alone: tuple[str, ...] = ()
        if self.each_language:
            alone = trainable(read_tasks(self.task, (), own=False), languages)
        for of_seed, settings in one_per_seed(self.out, self.overrides, self.seeds):
            runs = [(directory_of_part(of_seed, code), (code,)) for code in alone]
            for out, of_run in runs or [(of_seed, languages)]:
                yield finetuning(
                    self.run,
                    self.task,
                    out,
                    of_run,
                    held,
                    alone=self.each_language,
                    tokens=self.tokens,
                    share=self.pretraining_share,
                    corpus=self.corpus,
                    taught_by=self.teacher,
                    settings=settings,
                    profile=self.profile,
                    track=self.track,
                    cache=self.cache,
                )
