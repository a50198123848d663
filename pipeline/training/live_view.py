"""What someone sees who looks at the terminal of a run: one panel, renewed with every line.

Where output goes to a file, a line of text instead, so that a log can be read and searched.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Cell = tuple[str, str]


class LiveView:
    """The panel of one run."""

    def __init__(self, name: str, steps: int, console: Console):
        self.name, self.steps, self.console = name, steps, console
        self.live = Live(console=console, refresh_per_second=2, transient=False)

    def __enter__(self) -> "LiveView":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        """Prints a line above the panel."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def show(self, line: Mapping[str, Any], shares: Mapping[str, float], doing: str = "") -> None:
        """Shows the numbers of a line of metrics.jsonl, and where the time went so far."""
        step, cells = line["step"], numbers(line, self.steps)
        if not self.console.is_terminal:
            self.say(f"{self.name}: " + ", ".join(f"{name} {value}" for name, value in cells))
            return
        bar = Table.grid(expand=True)  # a bar alone does not end its line, and hides the next
        bar.add_row(ProgressBar(total=self.steps, completed=step))
        table = Table.grid(padding=(0, 3), expand=True)
        for start in range(0, len(cells), 4):
            table.add_row(
                *(Text.assemble((f"{k} ", "dim"), v) for k, v in cells[start : start + 4])
            )
        spent = "  ".join(
            f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items() if share
        )
        where = Text.assemble(("time ", "dim"), spent, "  ", (doing, "yellow"))
        self.live.update(Panel(Group(bar, table, where), title=self.name, title_align="left"))


def numbers(line: Mapping[str, Any], steps: int) -> list[Cell]:
    """Returns what is shown of a line, as names and formatted values; what is not known is left
    out.
    """
    cells = [("step", f"{line['step']:,} of {steps:,}")]
    known: list[tuple[str, str, str]] = [
        ("loss", "loss_nats", "{:.4f}"),
        ("tokens/s", "tokens_per_second", "{:,.0f}"),
        ("MFU", "model_flops_utilization", "{:.1%}"),
        ("gradient norm", "gradient_norm", "{:.3g}"),
        ("learning rate", "learning_rate", "{:.2g}"),
    ]
    if line.get("balance_loss"):
        known += [
            ("dropped", "dropped_share", "{:.1%}"),
            ("worst layer", "worst_layer", "{}"),
            ("its busiest expert", "worst_layer_load", "{:.1f} x even"),
        ]
    if line.get("held_out_nats") is not None:
        known.append(("held-out loss", "held_out_nats", "{:.4f}"))
    if line.get("skipped"):
        known.append(("skipped", "skipped", "{}"))
    cells += [
        (name, form.format(line[key])) for name, key, form in known if line.get(key) is not None
    ]
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
