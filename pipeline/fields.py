"""Types of a command's fields: what a value is, in which range it lies, which artifact it names.

    corpus: In[Corpus]
    out: Out[str]
    steps: Annotated[int, Range(least=1)] = 4

Help, parsing, early refusals and what the workers of a job must reach follow from them
(`command.py`). Nothing large is imported here, so that `mswitch --help`
takes a fraction of a second.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from data.files.paths import Place, place
from pipeline.artifacts import CORPUS, SCORES, TOKENS, VOCABULARY

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`, and between `above` and `below` exclusively."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and self.least <= number <= self.most
            and self.above < number < self.below
        )

    def __str__(self) -> str:
        bounds = (
            ("{:.12g} or more", self.least),
            ("at most {:.12g}", self.most),
            ("more than {:.12g}", self.above),
            ("less than {:.12g}", self.below),
        )
        return " and ".join(text.format(bound) for text, bound in bounds if math.isfinite(bound))


@dataclass(frozen=True)
class RunDirectory:
    """A run's directory.

    Attributes:
        finished: whether the run has to be finished.
    """

    finished: bool


@dataclass(frozen=True)
class Word:
    """A word of certain characters.

    Attributes:
        pattern: regular expression that it matches as a whole.
        advice: how to write one.
    """

    pattern: str
    advice: str


class LanguageNames:
    """Languages by mC4's codes, aliases or English names."""


class TextFiles:
    """Files of text or globs; a crawl's list is a file too."""


class ByWorkers:
    """A place that the workers of a Beam job open."""


# A directory of a run: on this machine, or in an object store.
RunPlace = Annotated[
    Place,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: place(words[0]),
        is_instance=lambda value: isinstance(value, Place),
        str_from_instance=lambda value: [str(value)],
    ),
]
In = Annotated[T, "read"]
Out = Annotated[T, "written"]

# What a command reads, or a tuple of them.
Corpus = Annotated[str, CORPUS, ByWorkers()]
Scores = Annotated[str, SCORES, ByWorkers()]
Vocabulary = Annotated[str, VOCABULARY]
Tokens = Annotated[str, TOKENS]
Run = Annotated[RunPlace, RunDirectory(finished=False)]
FinishedRun = Annotated[RunPlace, RunDirectory(finished=True)]
Texts = Annotated[tuple[str, ...], TextFiles()]
Files = Annotated[tuple[str, ...], ByWorkers()]

# What other tools call settings of a recipe, and how they are written after --set here.
SYNONYMS = {
    "batch_size": "rows=N, the rows of a batch",
    "epochs": "steps=N: the length of a run is a number of steps",
    "learning_rate": "optimizer.scale=X, which multiplies the learning rate",
    "lr": "optimizer.scale=X, which multiplies the learning rate",
    "max_steps": "steps=N",
    "num_train_epochs": "steps=N: the length of a run is a number of steps",
    "per_device_train_batch_size": "rows=N, the rows of a batch over all devices",
    "seed": "seed=N",
    "seq_len": "inputs=N, the input tokens of a row",
    "steps": "steps=N",
    "warmup_steps": "optimizer.warm_up_steps=N, the steps over which the rate rises",
}
# Defaults of a vocabulary's training, mT5's, which `clean` advises as well.
MIXTURE, CHARACTER_COVERAGE, SAMPLE_CHARACTERS = "temperature:0.3", 0.99999, 50_000_000

# Values that several commands have.
Languages = Annotated[tuple[str, ...], LanguageNames()]
Price = Annotated[float, Range(least=0)]
RobotName = Annotated[  # a product token of RFC 9309
    str,
    Word("[A-Za-z0-9_-]+", "name a robot by letters, digits, - and _ alone, such as CCBot"),
]
License = Annotated[
    str,
    Word(
        "[A-Za-z0-9][A-Za-z0-9.+-]{0,63}",
        "a licence is named as on the hub, in letters, digits, dots and hyphens, such as odc-by or "
        "cc-by-sa-4.0",
    ),
]
Overrides = Annotated[tuple[str, ...], tyro.conf.arg(name="set")]
BeamOptions = Annotated[tuple[str, ...], tyro.conf.Suppress]
Rules = Literal["mc4", "mc4-3.0.1", "c4-en", "mswitch-web", "demo", "none"]
TrackerName = Literal["wandb", "mlflow"]


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The hosts of a command; every host runs the same one."""

    count: int = 1
    """Number of processes, one per host."""
    index: int | None = None
    """Index of this process, from 0; detected on a TPU pod and under Slurm."""
    coordinator: str | None = None
    """HOST:PORT of the first process; detected on a TPU pod and under Slurm."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """The cache for blocks of an object store; the processes of a host share it."""

    directory: Path = Path("~/.cache/mswitch")
    """Local directory of this host."""
    gigabytes: Annotated[float, Range(least=1e-9)] = 100.0
    """Largest size of the cache; the least recently used blocks are evicted."""

    @property
    def limit_bytes(self) -> int:
        """Largest size of the cache in bytes."""
        return round(self.gigabytes * 1e9)
