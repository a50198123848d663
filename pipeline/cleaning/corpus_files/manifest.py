"""The results of a cleaning job: counts for the manifest, and a summary on the terminal.

Both are made from the job's `Tally`, which counts by (kind, language, detail). The invariant of the
stage is checked here: read = kept + rejected + not requested.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data.files.parquet_files import row_count
from data.languages import UNDETERMINED, all_languages
from data.rules import rule_sets
from data.rules.english_lines import LONGEST_PAGE_CHARACTERS
from data.rules.held_out import ShareOfEachLanguage, ShareOfUnsplitPages
from data.rules.rule_sets import LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.cleaning.job import CleaningJob
from pipeline.cleaning.tally import Key, Tally
from pipeline.corpus.pages import page_files

MOST_CONFUSED = 3  # languages in the manifest that CLD3 confuses with one

OUTCOMES = ("kept", "rejected", "not_asked")
NO_LISTS = "No lists of bad words were given, so none were looked for."


def manifest_of(
    tally: Tally, job: CleaningJob, *, files: int, not_read: Mapping[str, int]
) -> dict[str, Any]:
    """Returns the manifest's body.

    Args:
        tally: counts of the job.
        job: the job.
        files: number of files that it read.
        not_read: number of files not read, by the language in their names, which was not requested.

    Raises:
        RuntimeError: if pages were lost or counted twice.
    """
    counts = tally.counts
    read = counts.get(("read", "", ""), 0)
    counted = sum(value for (kind, _, _), value in counts.items() if kind in OUTCOMES)
    if read != counted:
        raise RuntimeError(
            f"{read} pages were read, but {counted} were kept, rejected or not requested; "
            "remove the output and run again, and report this if it comes back."
        )
    return {
        "rules": _rules(job),
        "languages": {code: _language(counts, code, job) for code in _seen(counts)},
        "not_asked": {"files": dict(sorted(not_read.items())), "pages": _not_asked(counts)},
        "broken_records": _broken(tally),
        "input": {"files": files, "records": read},
    }


def print_summary(console: Console, body: Mapping[str, Any], seconds: float) -> None:
    """Prints the numbers of pages read, kept and rejected, by reason."""
    languages = body["languages"]
    rejected = sum((Counter(one["rejected"]) for one in languages.values()), Counter())
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("pages read", f"{body['input']['records']:,}")
    table.add_row("kept", f"{sum(one['kept'] for one in languages.values()):,}")
    table.add_row("  of them held out", f"{sum(one['held_out'] for one in languages.values()):,}")
    for reason, count in rejected.most_common():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    for what, by_language in body["not_asked"].items():
        if by_language:
            table.add_row(f"{what} not requested", f"{sum(by_language.values()):,}")
    for reason, broken in body["broken_records"].items():
        table.add_row(f"broken: {reason}", f"{broken['count']:,}")
    table.add_row("languages with pages", f"{languages_with_pages(body)}")
    table.add_row("seconds", f"{seconds:.1f}")
    table.columns[1].justify = "right"
    console.print(table)


def languages_with_pages(body: Mapping[str, Any]) -> int:
    """Returns the number of languages with kept pages; "und" is none."""
    entries = body["languages"].items()
    return sum(one["kept"] > 0 for code, one in entries if code != UNDETERMINED)


def _rules(job: CleaningJob) -> dict[str, Any]:
    rules, lists = job.rules, job.bad_words is not None
    if isinstance(rules, Untouched):
        untouched = f"Nothing is judged; held out are {rules.held_out}."
        return {"name": rules.name, "differences_from_mc4": [untouched]}
    misses_lists = rules.bad_words is not None and not lists
    others = ", CLD2 and CLD3 together" if isinstance(rules, WebRuleSet) else ""
    identifier = (
        job.identifier and f"Languages are identified by {Path(job.identifier).name}{others}."
    )
    return {
        "name": rules.name,
        "differences_from_mc4": [
            *(
                rule_sets.web_differences_from_mc4(rules)
                if isinstance(rules, WebRuleSet)
                else rule_sets.differences_from_mc4(rules)
            ),
            *([identifier] if identifier else []),
            *([NO_LISTS] * misses_lists),
        ],
        "longest_page_characters": LONGEST_PAGE_CHARACTERS,
        "bad_words": str(rules.bad_words) if lists else None,
        "held_out": str(rules.held_out),
        **_by_kind(rules),
    }


def _by_kind(rules: RuleSet | WebRuleSet) -> dict[str, Any]:
    if isinstance(rules, WebRuleSet):
        return {
            "lines": f"{rules.long_lines}, weighted by script",
            "language": "the identifier's answer",
            "certainty": str(rules.certainty),
        }
    return {
        "lines": str(rules.lines),
        "language": rules.language_by.value,
        "certain_probability": rules.certain_probability,
    }


def _seen(counts: Mapping[Key, Any]) -> list[str]:
    return _in_order(
        language
        for kind, language, _ in counts
        if language and kind not in ("certainty", "not_asked")
    )


def _not_asked(counts: Mapping[Key, Any]) -> dict[str, int]:
    found = {code: number for (kind, code, _), number in counts.items() if kind == "not_asked"}
    return {code: found[code] for code in _in_order(found)}


def _in_order(codes: Iterable[str]) -> list[str]:
    seen = set(codes)
    return [code for code in (*(one.code for one in all_languages()), UNDETERMINED) if code in seen]


def _language(counts: Mapping[Key, Any], code: str, job: CleaningJob) -> dict[str, Any]:
    rules = job.rules
    splits = _details(counts, "kept", code)
    removed_lines = _details(counts, "removed_lines", code)
    described = {
        "kept": sum(splits.values()),
        "held_out": splits["validation"] or _share_held_out(job, code, sum(splits.values())),
        "rejected": dict(sorted(_details(counts, "rejected", code).items())),
        "characters": counts.get(("characters", code, ""), 0),
        "removed_lines": sum(removed_lines.values()),
        "removed_lines_by_rule": dict(sorted(removed_lines.items())),
        "confidence": dict(sorted(_details(counts, "confidence", code).items())),
    }
    if isinstance(rules, RuleSet) and rules.language_by is LanguageBy.DECLARATION:
        identified = _details(counts, "said", code)
        most = sorted(identified.items(), key=lambda one: (-one[1], one[0]))
        described["cld3"] = {
            "disagrees": sum(identified.values()),
            "said": dict(most[:MOST_CONFUSED]),
        }
    return described


def _share_held_out(job: CleaningJob, code: str, pages: int) -> int:
    held_out = job.rules.held_out
    # Pages of one address are in one split, and an addition keeps the earlier choice.
    if isinstance(held_out, ShareOfUnsplitPages) or (
        job.base is not None and isinstance(held_out, ShareOfEachLanguage)
    ):
        files = page_files([job.workspace.out], code, "validation")
        return sum(row_count(file.path) for file in files)
    return held_out.count(pages) if isinstance(held_out, ShareOfEachLanguage) else 0


def _broken(tally: Tally) -> dict[str, Any]:
    return {
        reason: {
            "count": count,
            "samples": [f"{file}@{offset}" for file, offset in tally.broken[reason]],
        }
        for reason, count in sorted(_details(tally.counts, "broken", "").items())
    }


def _details(counts: Mapping[Key, Any], kind: str, language: str) -> Counter[str]:
    return Counter(
        {detail: n for (one, code, detail), n in counts.items() if (one, code) == (kind, language)}
    )
