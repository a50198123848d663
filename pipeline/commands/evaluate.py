"""`mswitch evaluate`: scores held-out pages, tasks or sentences with one checkpoint of a run."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions, Corpus, Hosts, In, Range, Run, Tokens
from pipeline.stage import Job, output_lock


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Score a run's checkpoint: held-out pages, tasks, or the sentences of a parallel text."""

    example: ClassVar = "--run runs/switch --tokens tokens"

    run: In[Run]
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    tokens: In[Tokens] = ""
    """Directory that `mswitch tokenize` wrote, or its address on an object store: its held-out
    pages are scored, sums and counts, one row per page."""
    task: tuple[str, ...] = ()
    """Tasks whose test data are predicted, as for `finetune`."""
    beams: Annotated[int, Range(least=1)] = 1
    """Number of beams of the search for answers, with T5's length penalty; 1 is greedy."""
    corpus: In[Corpus] | None = None
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

    def check(self) -> None:
        """Checks that something is to be scored, with options that it has."""
        if not (self.tokens or self.task or self.sentences):
            raise ArtifactError(
                f"{self.run} was to be evaluated on nothing; name held-out pages (--tokens DIR), "
                "tasks (--task TASK) or a parallel text (--sentences TASK)."
            )
        if self.beams > 1 and not self.task:
            raise ArtifactError("--beams are of --task; name a task, or leave --beams out.")
        if self.corpus is not None and not (self.task or self.sentences):
            raise ArtifactError(
                "--corpus is searched for examples of --task and --sentences; name one, or leave "
                "--corpus out."
            )

    def work(self) -> None:
        """Scores a run that no other command may write to meanwhile, or shows what it would do."""
        from pipeline.hardware.hosts import held_by_first_host
        from pipeline.runs.directory import find_run

        find_run(self.run)
        lock = held_by_first_host(lambda: output_lock(self.run, "evaluate"))
        with nullcontext() if self.dry_run else lock:
            super().work()

    def jobs(self) -> Iterator[Job]:
        """Yields a job on held-out pages, and one on tasks and sentences."""
        from pipeline.training.checkpoint_scores import page_scoring, task_scoring

        tasks: list[Job] = []
        if self.task or self.sentences:  # refused before pages are scored
            asked = self.task, self.sentences, self.step, self.beams, self.corpus
            tasks.append(task_scoring(self.run, *asked))
        if self.tokens:
            yield page_scoring(self.run, self.tokens, self.step, self.cache)
        yield from tasks
