"""Compares `mswitch clean` with tensorflow-datasets' own C4 and mC4, page by page and rule by rule.

Both read the same WET files: the small archive of the tests, pages made by hand for the rules that
real pages do not trigger, and real pages from ../shared/data/web where that lies beside the
checkout. The same pages must be kept with the same text, language and split, and the others must
fall to the same rule. Every rule must have rejected something, or its agreement would mean nothing.
Exits with 1 otherwise, and if an input is not the one pinned in `material/inputs.sha256`.

Not compared, since the reference leaves them to chance or dies: pages of one address and one time,
and records that are not UTF-8. `--freeze` writes the reference's outcome for `make test`: digests
of the small archive and of the first real one, and what becomes of each page made by hand.
"""

import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from material import frozen_inputs, hand_made, readable, reference
from material.reference import Outcome

from data.rules import bad_words, rule_sets
from data.rules.english_lines import clean as clean_lines
from pipeline.commands.clean import Clean

ROOT = Path(__file__).parents[1]
SMALL = sorted((ROOT / "tests/fixture/web").glob("*.warc.wet.gz"))
WEB = ROOT.parent / "shared/data/web"
FROZEN = ROOT / "tests/pipeline/commands/cleaning/c4_reference.json"
HAND_MADE = ROOT / "tests/pipeline/commands/cleaning/c4_hand_made.json"

OF_ALL = ("too_long", "duplicate_url", "only_duplicate_lines", "bad_words")
RULES = {
    "mc4": (*OF_ALL, "too_few_long_lines"),
    "mc4-3.0.1": (*OF_ALL, "too_few_long_lines", "language_not_in_mc4"),
    "c4-en": (
        *OF_ALL, "lorem_ipsum", "curly_bracket", "too_few_sentences", "too_few_sentences_left",
        "language_unidentifiable", "language_uncertain", "language_not_english",
        *reference.LINES.values(),
    ),
}  # fmt: skip


def main() -> int:
    """Compares every rule set; returns the exit status."""
    web = sorted(WEB.glob("*.warc.wet.gz"))
    print(f"{len(web)} WET files in {WEB}" if web else f"{WEB} is not there: small archives only")
    with tempfile.TemporaryDirectory() as directory:
        small = [readable.copy(archive, Path(directory)) for archive in SMALL]
        files = [*web, *small, hand_made.write(Path(directory))]
        if changed := frozen_inputs.changed([*SMALL, *files]):
            print(f"inputs of other content than pinned: {', '.join(changed)}")
            return 1
        agree = [_compare(name, files, Path(directory)) for name in RULES]
        if sys.argv[1:] == ["--freeze"]:
            _freeze({"small": small} | ({"crawl": web[:1]} if web else {}))
            _freeze_hand_made(files[-1:], Path(directory) / "bad_words")
    return 0 if all(agree) else 1


def _compare(name: str, files: Sequence[Path], directory: Path) -> bool:
    lists = directory / "bad_words"
    theirs = _theirs(name, files, lists)
    ours = _ours(name, files, lists, directory / name)
    print(f"\n{name}: {theirs.kept.total()} pages kept by the reference, {ours.kept.total()} here")
    rows = [("kept", theirs.kept, ours.kept)]
    for reason in sorted({key[2] for key in theirs.rejected + ours.rejected} | set(_pages(name))):
        rows.append((reason, *(_of(reason, one.rejected) for one in (theirs, ours))))
    for kind in ("lines", "lost"):
        both = getattr(theirs, kind), getattr(ours, kind)
        rows += [
            (key, *(Counter({key: one[key]}) for one in both)) for key in sorted(both[0] | both[1])
        ]
    print(f"{'':28}{'reference':>10}{'here':>10}{'only there':>12}{'only here':>11}")
    differ = [_print_row(*row) for row in rows]
    counted = {reason: there.total() for reason, there, _ in rows}
    idle = [reason for reason in RULES[name] if not counted.get(reason)]
    if idle:
        print(f"  rules that rejected nothing: {', '.join(idle)}")
    return not any(differ) and not idle


def _print_row(reason: str, there: Counter[Any], here: Counter[Any]) -> bool:
    missing, surplus = there - here, here - there
    print(
        f"  {reason:26}{there.total():>10}{here.total():>10}"
        f"{missing.total():>12}{surplus.total():>11}"
    )
    for title, some in (("only there", missing), ("only here", surplus)):
        for one in list(some)[:3]:
            print(f"    {title}: {str(one)[:200]}")
    return bool(missing or surplus)


def _theirs(name: str, files: Sequence[Path], lists: Path | None) -> Outcome:
    rules = rule_sets.find_rule_set(name)
    assert isinstance(rules, rule_sets.RuleSet)
    assert rules.bad_words is not None
    words = {} if lists is None else {code: set(w) for code, w in bad_words.read(lists).items()}
    if name == "c4-en":
        return reference.c4_en(files, words, rules.bad_words)
    return reference.mc4(files, rules.certain_probability, words, rules.bad_words)


def _ours(name: str, files: Sequence[Path], lists: Path, out: Path) -> Outcome:
    paths = tuple(map(str, files))
    Clean(input=paths, rules=name, out=str(out), bad_words=lists).execute()  # pyright: ignore[reportArgumentType]
    kept = pq.read_table(out / "pages").to_pylist()
    rejected = pq.read_table(out / "rejected").to_pylist()
    broken = json.loads((out / "manifest.json").read_text())["broken_records"]
    return Outcome(
        Counter((one["url"], one["text"], one["language"], one["split"]) for one in kept),
        Counter((one["url"], one["timestamp"], one["reason"]) for one in rejected),
        _lines(files) if name == "c4-en" else Counter(),
        Counter({reason: one["count"] for reason, one in broken.items()}),
    )


def _lines(files: Sequence[Path]) -> Counter[str]:
    """Removed lines of all pages, those of rejected ones too, which no manifest holds."""
    run = reference.Run()
    pages = [page for page in run.read(files) if len(page.text) <= 190_000]
    return sum((clean_lines(page.text).removed for page in run.newest(pages)), Counter())


def _pages(name: str) -> list[str]:
    return [reason for reason in RULES[name] if reason not in reference.LINES.values()]


def _of(reason: str, rejected: Counter[tuple[str, str, str]]) -> Counter[Any]:
    return Counter({key: n for key, n in rejected.items() if key[2] == reason})


def _freeze(archives: Mapping[str, Sequence[Path]]) -> None:
    """Writes the digests of these archives; those of archives that are not here stay."""
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    for archive, files in archives.items():
        frozen[archive] = {name: _digests(_theirs(name, files, None)) for name in RULES}
    FROZEN.write_text(json.dumps(frozen, indent=2) + "\n", encoding="utf-8")


def _digests(outcome: Outcome) -> dict[str, Any]:
    reasons = sorted({key[2] for key in outcome.rejected})
    return {
        "kept": _digest(outcome.kept),
        "rejected": {reason: _digest(_of(reason, outcome.rejected)) for reason in reasons},
    }


def _freeze_hand_made(files: Sequence[Path], lists: Path) -> None:
    frozen = {name: _verdicts(_theirs(name, files, lists)) for name in RULES}
    text = json.dumps(frozen, indent=2, ensure_ascii=False, sort_keys=True)
    HAND_MADE.write_text(text + "\n", encoding="utf-8")


def _verdicts(outcome: Outcome) -> dict[str, str]:
    kept = {
        url: f"kept, {language}, {split}, text {hashlib.sha256(text.encode()).hexdigest()[:12]}"
        for url, text, language, split in outcome.kept
    }
    return kept | {url: reason for url, _, reason in outcome.rejected}


def _digest(pages: Counter[Any]) -> dict[str, Any]:
    ordered = sorted(pages.elements())
    text = json.dumps(ordered, ensure_ascii=False)
    return {"pages": len(ordered), "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}


if __name__ == "__main__":
    sys.exit(main())
