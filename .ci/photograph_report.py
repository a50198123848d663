"""Takes pictures of a report, light and dark, wide and on a phone: first screen and sections.

Usage: photograph_report.py REPORT_DIR OUT_DIR
"""

import sys
from pathlib import Path

from chromium import Browser

LOOKS = {
    "light": (1280, False),
    "dark": (1280, True),
    "phone": (390, False),
    "phone-dark": (390, True),
}


def main() -> None:
    """Writes OUT_DIR/LOOK-SECTION.png."""
    page, out = Path(sys.argv[1]).resolve() / "index.html", Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        for look, (width, dark) in LOOKS.items():
            browser.open(page, width=width, dark=dark)
            browser.photograph(out / f"{look}-first.png")
            sections = "[...document.querySelectorAll('section')].map((one) => one.id)"
            for section in browser.evaluate(sections):
                browser.photograph(out / f"{look}-{section}.png", f"#{section}")
    print(f"{len(list(out.glob('*.png')))} pictures in {out}")


if __name__ == "__main__":
    main()
