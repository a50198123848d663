"""The parts of `report.md` on expert use: of held-out pages, and of a task."""

from data.languages import get
from eval.experts.sharing import ExpertSharing
from eval.rendering.markdown_text import paragraph, table


def experts(sharing: ExpertSharing | None) -> list[str]:
    """Returns the part on held-out pages; none without a sparse run."""
    if sharing is None:
        return []
    caption = (
        f"Which experts serve which languages ({sharing.run}, step {sharing.step}): an expert’s "
        "share of all assignments, the router’s entropy, dropped assignments, and the language "
        "whose use of experts is farthest from that of all (0 is the same, 1 experts of its own)."
    )
    return [paragraph(caption), layers(sharing)]


def layers(sharing: ExpertSharing) -> str:
    """Returns a table with one row per switch layer."""
    rows = []
    for layer in sharing.layers:
        most = int(layer.distance.argmax())
        load = layer.load_of_all
        rows.append(
            (
                layer.name,
                str(layer.experts),
                f"{load.min():.1%} to {load.max():.1%}",
                f"{layer.entropy_of_all:.2f}",
                f"{layer.dropped_of_all:.2%}",
                f"{get(sharing.languages[most]).name} ({layer.distance[most]:.2f})",
            )
        )
    head = ("switch layer", "experts", "load", "entropy, nats", "dropped", "farthest from all")
    return table(head, rows)
