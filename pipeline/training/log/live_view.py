"""The terminal of a run: a panel, updated with every line of `metrics.jsonl`, with routers' faults.

Filled gaps are lines above the panel, in which no text of a corpus stands.

If the output is not a terminal, every line is printed as text, so that a log can be searched.

A sparse network whose router has collapsed trains on as a smaller dense one, and its loss looks
healthy. What is recognized from the routing of some steps, with its layer:

* an expert that gets no tokens (dead): below `DEAD` of an even load over the window;
* one expert that gets nearly all tokens: above `NEARLY_ALL` of the layer's assignments;
* a router that does not move although updates are made (frozen);
* a router whose weights are not numbers.

No JAX is imported.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.runs.finished import FilledGap, gap_in_words

DEAD_EXPERTS = "dead experts"
WINDOW = 50  # steps
NAMED = 8  # experts in a sentence
DEAD = 0.002  # of an even load; a healthy run had 0.018 after its warm-up
NEARLY_ALL = 0.9  # of a layer's assignments, if there are more than two experts
# Assignments that an even load would give an expert in the window. With fewer none counts as dead:
# of 2,500, chance leaves a live expert at a hundredth of an even load below 5 in 1 of 10^6 windows.
LEAST_EVEN = 2_500
# Steps in which experts without tokens are not a fault. In two of four healthy runs one had none
# for up to 112 steps and then came back; the last such window ended at step 513, warm-up at 50.
SETTLING = 600


class RouterFault(NamedTuple):
    """A fault of one layer's router.

    Attributes:
        layer: name of the layer.
        kind: `dead experts`, `one expert for all`, `frozen router` or `nan router`.
        experts: numbers of the experts, if the fault is theirs.
    """

    layer: str
    kind: str
    experts: tuple[int, ...] = ()

    def sentence(self) -> str:
        """Returns the fault in words."""
        named = ", ".join(str(expert) for expert in self.experts[:NAMED])
        more = len(self.experts) - NAMED
        experts = f"{named} and {more} more" if more > 0 else named
        return f"{self.layer}: {_WORDS[self.kind].format(experts=experts)}"


_WORDS = {
    DEAD_EXPERTS: f"below {DEAD:.1%} of an even load in {WINDOW} steps: expert {{experts}}",
    "one expert for all": f"over {NEARLY_ALL:.0%} of all tokens went to expert {{experts}}",
    "frozen router": f"the router has not moved in {WINDOW} steps",
    "nan router": "the router's weights are not numbers",
}


class RoutingWindow(NamedTuple):
    """The routing of the last steps, the oldest first.

    Attributes:
        load: assignments of each layer to each expert, before capacity.
        moves: squared distance that each layer's router moved in the step.
        updated: whether an update of positive rate was made.
    """

    load: Int[np.ndarray, "steps layers experts"]
    moves: Float[np.ndarray, "steps layers"]
    updated: Bool[np.ndarray, " steps"]


def router_faults(window: RoutingWindow, layers: Sequence[str]) -> list[RouterFault]:
    """Returns the faults of a window; of a shorter one than `WINDOW`, only weights that are NaN.

    Args:
        window: routing of the last steps.
        layers: name of each layer.
    """
    broken = [
        RouterFault(name, "nan router")
        for name, move in zip(layers, window.moves[-1], strict=True)
        if not np.isfinite(move)
    ]
    if len(window.updated) < WINDOW:
        return broken
    named = {fault.layer for fault in broken}
    others = [*_uneven(window.load.sum(axis=0), layers), *_frozen(window, layers)]
    return broken + [fault for fault in others if fault.layer not in named]


def confirmed_faults(
    faults: Sequence[RouterFault], before: Sequence[RouterFault]
) -> list[RouterFault]:
    """Returns the faults of experts that an earlier look found, too, and all others.

    A healthy run had an expert below `DEAD` in the windows that ended at steps 115 to 133, and not
    since (docs/decisions/balancing.md).
    """
    known = {(fault.layer, fault.kind): fault.experts for fault in before}
    kept = []
    for fault in faults:
        earlier = known.get((fault.layer, fault.kind), ())
        experts = tuple(expert for expert in fault.experts if expert in earlier)
        if experts or not fault.experts:
            kept.append(fault._replace(experts=experts))
    return kept


def _uneven(
    load: Int[np.ndarray, "layers experts"], layers: Sequence[str]
) -> Iterator[RouterFault]:
    """Yields the faults of the loads; where one expert has all, the others are not named, too."""
    even = load.mean(axis=1)
    for name, expert_loads, even_load in zip(layers, load, even, strict=True):
        busiest = int(expert_loads.argmax())
        if len(expert_loads) > 2 and expert_loads[busiest] > NEARLY_ALL * max(
            expert_loads.sum(), 1
        ):
            yield RouterFault(name, "one expert for all", (busiest,))
        elif even_load >= LEAST_EVEN and (expert_loads < DEAD * even_load).any():
            dead = np.flatnonzero(expert_loads < DEAD * even_load)
            yield RouterFault(name, DEAD_EXPERTS, tuple(dead.tolist()))


def _frozen(window: RoutingWindow, layers: Sequence[str]) -> Iterator[RouterFault]:
    """Yields the routers that no update moved."""
    if not window.updated.all():
        return
    for name, moves in zip(layers, window.moves.T, strict=True):
        if not moves.any():
            yield RouterFault(name, "frozen router")


MOST_COLUMNS = 4
GAP = 3  # cells between columns
BORDERS = 4  # cells of the panel at the left and right
# Name in the view, name in metrics.jsonl, format.
CELLS = (
    ("loss", "loss_nats", "{:.4f}"),
    ("tokens/s", "tokens_per_second", "{:,.0f}"),
    ("MFU", "model_flops_utilization", "{:.1%}"),
    ("gradient norm", "gradient_norm", "{:.3g}"),
    ("learning rate", "learning_rate", "{:.2g}"),
)
SPARSE_CELLS = (
    ("dropped", "dropped_share", "{:.1%}"),
    ("busiest layer", "worst_layer", "{}"),
    ("its busiest expert", "worst_layer_load", "{:.1f} x even"),
)
HELD_OUT_CELLS = (
    ("held-out loss", "held_out_loss_nats", "{:.4f} nats"),
    ("held-out score", "held_out_score", "{:.1f} %"),
)
SKIPPED_CELL = ("skipped", "skipped", "{}")


class LiveView:
    """The panel of one run; a context manager.

    Args:
        name: name of the recipe.
        steps: number of steps of the run.
        console: console to draw on.
        layers: names of the switch layers, in the order of their numbers.

    Attributes:
        faults: the routers' present faults, which the panel shows.
    """

    def __init__(self, name: str, steps: int, console: Console, layers: Sequence[str] = ()):
        self.name, self.steps, self.console, self.layers = name, steps, console, layers
        self.faults: Sequence[RouterFault] = ()
        self.live = Live(console=console, refresh_per_second=2, transient=False)

    def __enter__(self) -> "LiveView":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def print_line(self, text: str) -> None:
        """Prints a line above the panel."""
        self.console.print(text, highlight=False)

    def show_gaps(self, step: int, gaps: Sequence[FilledGap]) -> None:
        """Prints the gaps that a step's evaluation filled as lines, cut to a terminal's width.

        The panel holds none of them. Terminals differ in the widths of Hindi, Thai or Japanese,
        and a row of the panel that is wider than computed would shift all others at each update.
        """
        words = f"{self.name}: step {step:,} fills "
        cells = self.console.width - len(words) if self.console.is_terminal else None
        for gap in gaps:
            text = words + gap_in_words(gap, cells)
            self.console.print(text, highlight=False, soft_wrap=True)

    def show(
        self, line: Mapping[str, Any], shares: Mapping[str, float], activity: str = ""
    ) -> None:
        """Shows a line of metrics.jsonl.

        Args:
            line: the line's values, by name.
            shares: share of the time so far, by activity.
            activity: current activity other than stepping.
        """
        cells = numbers(self.with_layer_name(line), self.steps)
        if not self.console.is_terminal:
            self.print_line(f"{self.name}: " + ", ".join(f"{name} {text}" for name, text in cells))
            return
        contents = self.group(line, cells, shares, activity)
        panel = Panel(contents, title=Text(self.name), title_align="left")
        self.live.update(Group(panel, ""))  # a line for the terminal's own ^C

    def with_layer_name(self, line: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns a line with the name of its worst layer, if names are known, for the number."""
        if not self.layers or "worst_layer" not in line:
            return line
        return {**line, "worst_layer": self.layers[line["worst_layer"] - 1]}

    def group(
        self,
        line: Mapping[str, Any],
        cells: Sequence[tuple[str, str]],
        shares: Mapping[str, float],
        activity: str,
    ) -> Group:
        """Returns the panel's bar, numbers, time and faults, within the console's width."""
        inner = self.console.width - BORDERS
        bar = Table.grid(expand=True)  # a bare bar does not end its line and hides the next
        bar.add_row(ProgressBar(total=self.steps, completed=line["step"]))
        spent = "  ".join(
            f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items() if share
        )
        time = Text.assemble(("time ", "dim"), spent, "  ", (activity, "yellow"))
        faults = [Text(fault.sentence(), style="bold red") for fault in self.faults]
        return Group(bar, cells_table(cells, inner), time, *faults)


def cells_table(cells: Sequence[tuple[str, str]], width: int) -> Table:
    """Returns names and values in as many columns as fit with no value cut, at most four."""
    columns = next(
        n for n in range(MOST_COLUMNS, 0, -1) if n == 1 or table_width(cells, n) <= width
    )
    table = Table.grid(padding=(0, GAP), expand=True)
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        table.add_row(*(Text.assemble((f"{name} ", "dim"), text) for name, text in row))
    return table


def table_width(cells: Sequence[tuple[str, str]], columns: int) -> int:
    """Returns the width of names and values in this many columns, with the gaps between them."""
    parts = [cells[at::columns] for at in range(min(columns, len(cells)))]
    return sum(max(len(name) + 1 + len(text) for name, text in part) + GAP for part in parts)


def numbers(line: Mapping[str, Any], steps: int) -> list[tuple[str, str]]:
    """Returns the names and formatted values to show; unknown values are left out."""
    shown = [
        *CELLS,
        *(SPARSE_CELLS if line.get("balance_loss") else ()),
        *HELD_OUT_CELLS,
        *([SKIPPED_CELL] if line.get("skipped") else ()),
    ]
    cells = [("step", f"{line['step']:,} of {steps:,}")]
    for name, key, form in shown:
        if line.get(key) is not None:
            # An evaluation comes after the line of its step, so a line has that of an earlier one.
            at = f" (step {line['held_out_step']:,})" if key.startswith("held_out") else ""
            cells.append((name, form.format(line[key]) + at))
    if line.get("seconds"):
        cells.append(("left", duration(line["seconds"] * (steps - line["step"]))))
    return cells


def duration(seconds: float) -> str:
    """Returns a time such as `3 d 04:05` or `0:12:30`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02d}:{minute:02d}"
    return f"{hours}:{minute:02d}:{second:02d}"
