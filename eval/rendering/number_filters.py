"""How numbers are written in the page, by the names of the templates' filters."""

from collections.abc import Callable


def _count(value: int | float | None) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _number(value: int | float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: int | float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _share(value: int | float | None) -> str:
    if value is None:
        return "–"
    return "< 0.1%" if 0 < value < 0.001 else f"{value:.1%}"


def _percent(value: int | float | None) -> str:
    return "–" if value is None else f"{value:.0%}".replace("-", "\N{MINUS SIGN}")


FILTERS: dict[str, Callable[..., str]] = {
    "count": _count,
    "number": _number,
    "signed": _signed,
    "share": _share,
    "percent": _percent,
}
