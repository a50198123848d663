"""The arguments of each command: one frozen dataclass per command, its docstrings the help text.

Beside the standard library only tyro and addresses are imported here, so that `mswitch --help`
takes a fraction of a second. Everything after a lone `--` is passed to Beam unchanged.
"""

from pipeline.arguments.machine import Demo, Doctor, Plan, Recipes
from pipeline.arguments.runs import Evaluate, ExportHf, Fill, ImportHf, Inspect, Report, Time
from pipeline.arguments.shared import CacheOptions, Hosts, RunPlace, StageArguments
from pipeline.arguments.text import (
    Clean,
    Estimate,
    PersonalData,
    Rules,
    Score,
    Select,
    Tokenize,
    Vocabulary,
    Withdraw,
)
from pipeline.arguments.training import Distill, Finetune, Pretrain, Prune, TrackerName
