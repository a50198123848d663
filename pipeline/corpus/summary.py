"""The results of a cleaning job: counts for the manifest, a summary and cautions on the terminal.

Counts and summary are made from the job's `Tally`, which counts by (kind, language, detail). The
invariant of the stage is checked here: read = kept + rejected + not requested.

Cautions are what a user should know before the next command reads the corpus. They are computed
from the manifest's body alone: nothing kept, most records or bytes broken, one reason for most
pages, requested languages without pages, nothing held out, or many pages held out together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from data.errors import join_names
from data.files.parquet_files import row_count
from data.files.paths import join_path, names_in
from data.languages import UNDETERMINED, all_languages
from data.reading.html import LARGEST_HTML_BYTES
from data.reading.records import LONGEST_LINE_BYTES
from data.rules import rule_sets
from data.rules.english_lines import LONGEST_PAGE_CHARACTERS
from data.rules.held_out import AsPublished, ShareOfEachLanguage, ShareOfUnsplitPages
from data.rules.rule_sets import LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.corpus.counts import DECLARED, OTHER_DECLARATIONS, Tally
from pipeline.corpus.job import CleaningJob
from pipeline.corpus.other_formats import ARRAY_TO_LINES, RENAMED_FIELD
from pipeline.corpus.pages import PAGES_FOLDER
from pipeline.corpus.rules import trusts_declarations

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
    read = tally.number("read")
    counted = sum(map(tally.number, OUTCOMES))
    if read != counted:
        raise RuntimeError(
            f"{read} pages were read, but {counted} were kept, rejected or not requested; "
            "remove the output and run again, and report this if it comes back."
        )
    return {
        "rules": _rules(job),
        "languages": {code: _language(tally, code, job) for code in _seen(tally)},
        "not_asked": {"files": dict(sorted(not_read.items())), "pages": _not_asked(tally)},
        "broken_records": _broken(tally),
        "input": {"files": files, "records": read, "text_bytes": tally.number("text_bytes")},
        "declared": _declarations_by_language(tally) if trusts_declarations(job.rules) else {},
    }


def print_summary(console: Console, body: Mapping[str, Any], seconds: float) -> None:
    """Prints the numbers of pages read, kept and rejected, by reason."""
    entries = list(body["languages"].values())
    rejected = sum((Counter(entry["rejected"]) for entry in entries), Counter())
    lost = sum(record["bytes"] for record in body["broken_records"].values())
    counts = {
        "pages read": body["input"]["records"],
        "kept": sum(entry["kept"] for entry in entries),
        "  of them held out": sum(entry["held_out"] for entry in entries),
        **{f"rejected: {reason}": count for reason, count in rejected.most_common()},
        **{f"{what} not requested": sum(n.values()) for what, n in body["not_asked"].items() if n},
        **{
            f"declared as {name}: counted as {code}": count
            for code, names in body["declared"].items()
            for name, count in names.items()
        },
        **{f"broken: {name}": record["count"] for name, record in body["broken_records"].items()},
        **({"  bytes of them": lost} if lost else {}),
        "languages with pages": languages_with_pages(body),
    }
    print_counts(console, counts, seconds)


def print_counts(console: Console, counts: Mapping[str, int], seconds: float) -> None:
    """Prints the numbers of a job, one per line, and its seconds."""
    table = Table("", Column(justify="right"), box=None, show_header=False, pad_edge=False)
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    console.print(table)


def languages_with_pages(body: Mapping[str, Any]) -> int:
    """Returns the number of languages with kept pages; "und" is none."""
    entries = body["languages"].items()
    return sum(entry["kept"] > 0 for code, entry in entries if code != UNDETERMINED)


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


def _declarations_by_language(tally: Tally) -> dict[str, dict[str, int]]:
    """Returns the commonest declarations of each language that the table lacks, and the rest."""
    declared = {}
    for code in _in_order(tally.languages(DECLARED)):
        details = tally.details(DECLARED, code)
        others = details.pop(OTHER_DECLARATIONS, 0)
        named = dict(sorted(details.items(), key=lambda entry: (-entry[1], entry[0]))[:NAMED])
        others += details.total() - sum(named.values())
        declared[code] = named | ({OTHER_DECLARATIONS: others} if others else {})
    return declared


def _seen(tally: Tally) -> list[str]:
    return _in_order(tally.languages("kept", "rejected"))


def _not_asked(tally: Tally) -> dict[str, int]:
    codes = _in_order(tally.languages("not_asked"))
    return {code: tally.number("not_asked", code) for code in codes}


def _in_order(codes: Iterable[str]) -> list[str]:
    seen = set(codes)
    return [
        code
        for code in (*(language.code for language in all_languages()), UNDETERMINED)
        if code in seen
    ]


def _language(tally: Tally, code: str, job: CleaningJob) -> dict[str, Any]:
    rules = job.rules
    splits, removed_lines = tally.details("kept", code), tally.details("removed_lines", code)
    described = {
        "kept": sum(splits.values()),
        "held_out": splits["validation"] or _share_held_out(job, code, sum(splits.values())),
        "rejected": tally.details("rejected", code),
        "characters": tally.number("characters", code),
        "removed_lines": sum(removed_lines.values()),
        "removed_lines_by_rule": removed_lines,
        "confidence": tally.details("confidence", code),
    }
    if isinstance(rules, RuleSet) and rules.language_by is LanguageBy.DECLARATION:
        identified = tally.details("said", code)
        most = sorted(identified.items(), key=lambda entry: (-entry[1], entry[0]))
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
        directory = join_path(job.workspace.out, PAGES_FOLDER, code)
        names = (name for name in names_in(directory) if name.startswith("validation-"))
        return sum(row_count(join_path(directory, name)) for name in names)
    return held_out.count(pages) if isinstance(held_out, ShareOfEachLanguage) else 0


def _broken(tally: Tally) -> dict[str, Any]:
    return {
        reason: {
            "count": count,
            "bytes": tally.details("broken_bytes")[reason],
            "samples": [f"{file}@{offset}" for file, offset in tally.broken[reason]],
        }
        for reason, count in tally.details("broken").items()
    }


MOST = 0.5  # share of the pages above which one reason, or damage, is named
MOST_HELD_OUT = 0.25  # share of the pages above which training lacks them
NAMED = 10  # languages in a sentence
HOLD_OUT = "clean into another directory with --validation-minimum 10"
PUBLISHED = ", or, where text was published with a split (C4, mC4), with its validation files too"


def cautions(
    body: Mapping[str, Any],
    rule: object,
    requested: Sequence[str] | None = None,
    *,
    declared: bool = False,
    tests: Sequence[str] = (),
    published: Sequence[str] = (),
) -> Iterator[str]:
    """Yields the cautions about a corpus, the gravest first.

    Args:
        body: body of the manifest.
        rule: rule of the held-out pages.
        requested: languages that the user named; None for all.
        declared: whether languages are those that pages declare.
        tests: files that are named as a test or validation split, and read as any other.
        published: files of published text that is held out there.
    """
    languages = body["languages"]
    kept = {code: entry["kept"] for code, entry in languages.items() if entry["kept"]}
    yield from _of_input(body)
    yield from _of_reasons(body)
    keeps_split = isinstance(rule, AsPublished)
    hold_out = HOLD_OUT + PUBLISHED * keeps_split
    if tests:
        split = ', or give their records a "split"' if keeps_split else ""
        yield (
            f"Files that are named as a validation or test split and were read as any other: "
            f"{len(tests):,}, such as {tests[0]}; leave them out{split}."
        )
    if published and not keeps_split:
        yield (
            f"Files that were published for validation, of whose pages these rules train on most: "
            f"{len(published):,}, such as {published[0]}; leave them out, or clean with --rules "
            "none."
        )
    if missing := [code for code in requested or () if code not in kept]:
        yield f"No page was kept in {_few(missing)}, which --languages names."
    without = kept.get(UNDETERMINED)
    if declared and without and len(kept) > 1:
        yield (
            f"{without:,} of {sum(kept.values()):,} kept pages declare no language or a code that "
            f"is not known{codes_in_words(body['declared'])}; they are in pages/und and are not "
            "trained on."
        )
    without = [c for c in kept if c != UNDETERMINED and not languages[c]["held_out"]]
    single = [code for code in without if kept[code] == 1]
    several = [code for code in without if code not in single]
    if several and len(without) == len(kept.keys() - {UNDETERMINED}):
        yield f"No page is held out ({rule}), so no run can be evaluated; {hold_out}."
    elif several:
        yield f"No page is held out in {_few(several)} ({rule}); {hold_out}, or go on without."
    if single:
        yield (
            f"Of {_few(single)} there is one page only, which is trained on; give more text for "
            "an evaluation there."
        )
    held_out = {code: languages[code]["held_out"] for code in kept if code != UNDETERMINED}
    pages = sum(kept[code] for code in held_out)
    if sum(held_out.values()) > MOST_HELD_OUT * pages:
        yield (
            f"{sum(held_out.values()):,} of {pages:,} pages are held out ({rule}) and not trained "
            "on; clean into another directory with a smaller --validation-minimum, or more text."
        )
    if isinstance(rule, ShareOfEachLanguage) and "addition" not in body:
        yield from _of_shared_addresses(languages, kept, rule)


def codes_in_words(declared: Mapping[str, Mapping[str, int]]) -> str:
    """Returns the declared codes that are not known, with their pages, in brackets; "" for none."""
    unknown = declared.get(UNDETERMINED, {})
    return (
        f" ({join_names(f'{name}: {pages:,}' for name, pages in unknown.items())})"
        if unknown
        else ""
    )


def _of_shared_addresses(
    languages: Mapping[str, Any], kept: Mapping[str, int], rule: ShareOfEachLanguage
) -> Iterator[str]:
    """Yields where far more pages are held out than asked: those of one address go together."""
    wanted = {code: rule.count(pages) for code, pages in kept.items()}
    more = [code for code, count in wanted.items() if languages[code]["held_out"] > 2 * count]
    if more:
        code = max(more, key=lambda language: languages[language]["held_out"])
        held_out = f"{languages[code]['held_out']:,} pages for {wanted[code]:,}"
        yield (
            f"Pages of {_few(more)} share an address or a text and are held out together "
            f'({code}: {held_out}); give each document a "url" of its own, or none where it names '
            "a source."
        )


def _of_input(body: Mapping[str, Any]) -> Iterator[str]:
    broken = {reason: entry["count"] for reason, entry in body["broken_records"].items()}
    sizes = {reason: entry["bytes"] for reason, entry in body["broken_records"].items()}
    whole = body["input"]["records"] + sum(broken.values())
    whole_bytes = body["input"]["text_bytes"] + sum(sizes.values())
    is_most = sum(broken.values()) > MOST * whole
    if not whole:
        yield "The input has no record."
    elif is_most or sum(sizes.values()) > MOST * whole_bytes:
        measure = broken if is_most else sizes
        reason = max(measure, key=lambda name: measure[name])
        yield (
            f"{sum(broken.values()):,} of {whole:,} records, {sum(sizes.values()):,} of "
            f"{whole_bytes:,} bytes, are broken, most as {reason}{EXPECTED.get(reason, '')}; "
            "broken/records.parquet has the place of each."
        )
    if "truncated" in broken:
        places = [
            place.rpartition("@")[0] for place in body["broken_records"]["truncated"]["samples"]
        ]
        yield (
            f"Records that end early: {broken['truncated']:,}, such as in {places[0]}; if that "
            "file was cut, what stood after is missing: fetch it again and clean into another "
            "directory."
        )


def _of_reasons(body: Mapping[str, Any]) -> Iterator[str]:
    pages = body["input"]["records"]
    counts = sum((Counter(entry["rejected"]) for entry in body["languages"].values()), Counter())
    for reason, count in counts.most_common(1):
        if count > MOST * pages:
            yield (
                f"{count / pages:.0%} of the pages were rejected for one reason, {reason}; "
                f"{REMEDIES.get(reason, 'rejected/ has their text')}."
            )


EXPECTED = {
    "too_large": (
        f" (a record has at most {LONGEST_LINE_BYTES >> 20} MiB, a page of HTML "
        f"{LARGEST_HTML_BYTES >> 20} MiB; divide longer documents)"
    ),
    "invalid_utf8": " (text is to be in UTF-8; convert the file, for example by iconv)",
    "no_text": f' (a record needs text in its field "text"; {RENAMED_FIELD} renames another)',
    "no_url": ' (a "url" is text, or left out)',
    "invalid_timestamp": ' (a "timestamp" is text in ISO 8601, or left out)',
    "too_many_values": " (a record of more than 500,000 JSON values is not read as a page)",
    "not_a_response": " (of a WARC file responses are read; name a WET file .warc.wet.gz)",
    "not_json": f" (each line is to be one JSON object; {ARRAY_TO_LINES} makes lines of an array)",
    "not_an_object": (
        ' (each line is to be one JSON object, with text in its field "text"; '
        f"{ARRAY_TO_LINES} makes lines of an array)"
    ),
}
REMEDIES = {
    "duplicate_url": (
        'many pages share an address: only the newest of each is kept; remove "url" where it names '
        "a site instead of a page, and the text counts instead"
    ),
}


def _few(codes: Sequence[str]) -> str:
    more = len(codes) - NAMED
    rest = f" and {more} more language{'' if more == 1 else 's'}" if more > 0 else ""
    return ", ".join(codes[:NAMED]) + rest
