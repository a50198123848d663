"""The tasks of a run as training examples, and which share text with the pretraining corpus."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate, chain, groupby
from typing import NamedTuple

from data.curation.leakage import leaked_examples
from data.errors import DataError
from data.examples.mixture import Schedule, TextSizes, make_schedule, parse, weights_file
from data.examples.pretraining_examples import Examples
from data.examples.span_corruption import Lengths
from data.examples.task_examples import PRETRAINING, Source, TaskExamples, encode_source
from data.files.digests import checked_copy, digest_of_value
from data.files.paths import Place
from data.languages import get
from data.tasks.description import find_task
from data.tasks.examples import TaskData, TaskExample, read_task, task_files
from data.tokens.tokenizer import Tokenizer
from pipeline.corpus.pages import page_files, page_texts, read_corpus
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe
from pipeline.stage import Reading, files_of


def overlaps_with(
    corpus: str | None, tasks: Sequence[Sequence[TaskExample]]
) -> list[set[int] | None]:
    """Returns the positions of examples that share 13 words in a row with a training page.

    The pages are read once for all tasks.

    Args:
        corpus: corpus of the pretraining; None if it is not known, and None is then returned for
            each task.
        tasks: examples of each task.

    Raises:
        ArtifactError: if the directory is not a finished corpus.
    """
    if corpus is None:
        return [None for _ in tasks]
    languages = read_corpus(corpus).languages
    examples = list(chain.from_iterable(tasks))
    codes = sorted({example.language for example in examples} & set(languages))
    leaked = leaked_examples(examples, _pages(corpus, codes))
    starts = accumulate(map(len, tasks), initial=0)
    return [
        {position - start for position in leaked if start <= position < start + len(task)}
        for start, task in zip(starts, tasks, strict=False)
    ]


def _pages(corpus: str, codes: Sequence[str]) -> Iterator[tuple[str, str]]:
    for code in codes:
        for file in page_files([corpus], code, "train"):
            with checked_copy(file.path, file.digest) as here:
                yield from ((code, text) for text in page_texts(here))


LONGEST = 512  # decoder tokens that are chosen for a task, at most
MULTIPLE = 8  # of the chosen decoder tokens


class Finetuning(NamedTuple):
    """The tasks of a run.

    Attributes:
        tasks: tasks with their examples, of training only those of the run's languages.
        tokenizer: the run's tokenizer.
        vocabulary: file of its model.
    """

    tasks: tuple[TaskData, ...]
    tokenizer: Tokenizer
    vocabulary: Place

    @property
    def names(self) -> list[str]:
        """Names of the tasks."""
        return [data.task.name for data in self.tasks]

    @property
    def digests(self) -> dict[str, str]:
        """Digest of each task: of its description and all its examples."""
        return {
            f"task {data.task.name}": digest_of_value(
                [asdict(data.task), data.train, data.development, data.test]
            )
            for data in self.tasks
        }

    @property
    def targets(self) -> int:
        """Number of decoder tokens that holds every target to be learned or chosen, up to 512.

        Targets of test data do not count, so tasks of test data alone get all 512.
        """
        longest = max(
            (len(self.tokenizer.encode(text)) + 1 for text in self.texts), default=LONGEST
        )
        return min(-(-longest // MULTIPLE) * MULTIPLE, LONGEST)

    @property
    def texts(self) -> set[str]:
        """Targets to be learned or chosen."""
        labels = {label for data in self.tasks for label in data.task.labels}
        examples = (example for data in self.tasks for example in (*data.train, *data.development))
        return labels | {example.target for example in examples}

    def answer_tokens(self, recipe: Recipe) -> int:
        """Returns the decoder tokens of an answer by a finished run.

        As many as a fine-tuned run learned; more if other tasks have longer targets.
        """
        learned = 0 if recipe.finetuning is None else recipe.finetuning.targets
        own = recipe.finetuning is not None and set(self.names) <= set(recipe.finetuning.tasks)
        if learned and (own or not self.texts):
            return learned
        return max(learned, self.targets)

    def lost(self, sources: Sequence[Source], lengths: Lengths) -> Iterator[str]:
        """Yields a sentence per task with rows that are not examples, and per cut kind of text."""
        for data in self.tasks:
            yield from rows_set_aside(data)
        for source in sources:
            for count, what, length, setting in (
                (source.cut_inputs, "inputs", lengths.inputs, "inputs"),
                (source.cut_targets, "targets", lengths.targets, "finetuning.targets"),
            ):
                if count:
                    yield (
                        f"{source.name}: {count:,} of {len(source.inputs):,} {what} have more than "
                        f"{length} tokens and lost their end; --set {setting}=N allows more."
                    )

    def sources(self, recipe: Recipe) -> tuple[Source, ...]:
        """Returns the training examples as ids, one source per task and language."""
        inputs, targets = recipe.lengths.inputs, recipe.lengths.targets
        return tuple(
            encode_source(
                f"{data.task.name}/{code}", list(examples), self.tokenizer, inputs, targets
            )
            for data in self.tasks
            for code, examples in groupby(data.train, lambda example: example.language)
        )

    def examples(self, recipe: Recipe, pretraining: Examples | None) -> TaskExamples:
        """Returns the training examples.

        Args:
            recipe: the run's recipe.
            pretraining: examples of the pretraining task to mix in, of the same inputs.
        """
        return TaskExamples(
            sources=self.sources(recipe),
            schedule=self.schedule(recipe, mixed=pretraining is not None),
            inputs=recipe.lengths.inputs,
            targets=recipe.lengths.targets,
            seed=recipe.seed,
            vocabulary=self.vocabulary,
            pretraining=pretraining,
        )

    def schedule(self, recipe: Recipe, mixed: bool) -> Schedule:
        """Returns the order of the sources, with the pretraining task where it is mixed in.

        Raises:
            DataError: if the recipe has no mixture of these tasks.
        """
        if weights_file(recipe.mixture):
            raise DataError(
                f"Mixture {recipe.mixture!r} gives weights to pages of languages, and a "
                "source here is a language of a task; choose temperature:ALPHA, proportional or "
                "uniform."
            )
        sizes = Counter(
            f"{data.task.name}/{example.language}" for data in self.tasks for example in data.train
        )
        weights = parse(recipe.mixture, TextSizes(sizes, sizes))
        share = recipe.finetuning.pretraining_share if mixed and recipe.finetuning else 0.0
        if share:
            weights = {name: (1 - share) * weight for name, weight in weights.items()}
            weights[PRETRAINING] = share
        return make_schedule(weights, recipe.seed)


def tasks_read(
    words: Sequence[str], given: Finetuning, sources: Sequence[Source]
) -> Iterator[Reading]:
    """Yields tasks as something that is read.

    Args:
        words: tasks as the user names them.
        given: the same, read.
        sources: their training examples as ids.
    """
    for word, data in zip(words, given.tasks, strict=True):
        _, directory = find_task(word)
        files = (file.path for file in task_files(data.task, directory))
        own = [source for source in sources if source.name.startswith(f"{data.task.name}/")]
        yield files_of(f"task {data.task.name}", directory, files, _holds(data, own))


def _holds(data: TaskData, sources: Sequence[Source]) -> str:
    """Returns the numbers of examples of a task, and of its texts that are cut, in words."""
    parts = {"training": data.train, "development": data.development, "test": data.test}
    counts = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    cuts = {
        "inputs": sum(source.cut_inputs for source in sources),
        "targets": sum(source.cut_targets for source in sources),
    }
    cut = " and ".join(f"{count:,} {what}" for what, count in cuts.items() if count)
    lost = f", {cut} of training lose their end" if cut else ""
    languages = "1 language" if len(sources) == 1 else f"{len(sources)} languages"
    return f"{counts} examples, trained in {languages}{lost}"


def rows_set_aside(data: TaskData) -> Iterator[str]:
    """Yields a sentence on the rows of a task that are not examples, if there are any."""
    if data.set_aside:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in data.set_aside.items())
        yield f"{data.task.name}: {sum(data.set_aside.values()):,} rows set aside ({reasons})."


def read_tasks(words: Sequence[str], languages: Sequence[str], own: bool) -> tuple[TaskData, ...]:
    """Returns tasks with the training examples of some languages.

    Args:
        words: tasks as the user names them.
        languages: languages to train on; all if empty.
        own: whether development and test data have these languages only, too; always so of
            several, as one alone is the zero-shot mode.

    Raises:
        DataError: if a task cannot be read, two have one name, or there is nothing to train on.
    """
    tasks = tuple(map(_read_once, words))
    names = [data.task.name for data in tasks]
    if len(set(names)) < len(names):
        raise DataError(f"--task names {', '.join(names)}; name each task once.")
    codes = {get(code).code for code in languages}
    own = own or len(codes) > 1
    return tuple(_of_languages(data, codes, own) for data in tasks) if codes else tasks


@functools.lru_cache
def _read_once(word: str) -> TaskData:
    """Reads a task once per process: runs of 96 languages would read SIB-200 for 5 s each."""
    return read_task(word)


def _of_languages(data: TaskData, codes: set[str], own: bool) -> TaskData:
    def some(examples: list[TaskExample]) -> list[TaskExample]:
        return [example for example in examples if example.language in codes]

    if absent := codes - {example.language for example in data.train}:
        raise DataError(
            f"Task {data.task.name} was to be trained on {', '.join(sorted(absent))}, of which it "
            "has no training example; name other languages."
        )
    chosen = data._replace(train=some(data.train))
    if not own:
        return chosen
    # A task may have development data in English alone, by which each step is then chosen.
    development = some(data.development) or data.development
    return chosen._replace(development=development, test=some(data.test))


def trainable(tasks: Sequence[TaskData], languages: Sequence[str]) -> tuple[str, ...]:
    """Returns the languages to train on, each alone: those named, or all with training data.

    Raises:
        ArtifactError: if a task has no training or no development examples of one.
    """
    named = languages or sorted({example.language for data in tasks for example in data.train})
    codes = {get(code).code for code in named}
    for data in tasks:
        languages_of_parts = (
            {example.language for example in part} for part in (data.train, data.development)
        )
        if lacking := sorted(codes - set.intersection(*languages_of_parts)):
            raise ArtifactError(
                f"--each-language was given, and task {data.task.name} has no training or no "
                f"development examples of {', '.join(lacking)}; name others with --languages."
            )
    return tuple(named)
