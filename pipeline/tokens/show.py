"""What `mswitch inspect` shows of token blocks, after it has verified them."""

from rich.console import Console
from rich.table import Column, Table

from data.tokens.blocks import TokenBlocks, verify_contents, verify_model
from data.tokens.manifest import SplitTokens

FERTILITY = (
    "language",
    "pages",
    "tokens",
    "tokens per byte",
    "tokens per page",
    "unknown %",
    "byte fallback %",
)
NOTHING = SplitTokens(
    pages=0, tokens=0, text_bytes=0, characters=0, unknown_tokens=0, byte_tokens=0, shards=()
)


def print_blocks(blocks: TokenBlocks, console: Console) -> None:
    """Checks every shard against its checksum and prints the tokenizer's fertility per language."""
    verify_contents(blocks)
    verify_model(blocks)
    numbers = *FERTILITY[1:], "held-out pages", "held-out tokens"
    table = Table(FERTILITY[0], *(Column(name, justify="right") for name in numbers))
    for code, splits in blocks.manifest.languages.items():
        train, held_out = splits.get("train", NOTHING), splits.get("validation", NOTHING)
        table.add_row(code, *fertility(train), f"{held_out.pages:,}", f"{held_out.tokens:,}")
    console.print(table)
    console.print("all checksums correct")


def fertility(counts: SplitTokens) -> tuple[str, ...]:
    """Returns the cells of the `FERTILITY` columns that follow the language."""
    tokens = max(counts.tokens, 1)
    return (
        f"{counts.pages:,}",
        f"{counts.tokens:,}",
        f"{counts.tokens / max(counts.text_bytes, 1):.3f}",
        f"{counts.tokens / max(counts.pages, 1):,.0f}",
        f"{100 * counts.unknown_tokens / tokens:.2f}",
        f"{100 * counts.byte_tokens / tokens:.2f}",
    )
