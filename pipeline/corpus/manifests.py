"""The manifest of a corpus, by whichever command wrote it: `clean` or `select`."""

import shlex
from pathlib import Path

from msgspec import Struct

from data.corpus_manifest import CorpusManifest
from data.files.json_files import Name, read_json
from data.files.paths import exists, join_path
from data.rules.rule_sets import none
from pipeline.artifacts.claims import MANIFEST, digest_of_manifest, head_in, read_manifest
from pipeline.errors import ArtifactError

CLEAN, SELECT = "clean", "select"
WITHDRAWAL, UNFINISHED = "withdrawal", "unfinished.json"  # folder of a corpus, and a file in it


def corpus_stage(directory: Path | str) -> str:
    """Returns the command that wrote a corpus, or is to finish it; `clean` where none has begun.

    Raises:
        DataError: if its manifest is damaged.
    """
    head = head_in(directory)
    return SELECT if head and head.stage == SELECT else CLEAN


def read_corpus(directory: Path | str) -> CorpusManifest:
    """Returns the manifest of a corpus.

    Raises:
        ArtifactError: if the directory is not a finished corpus, or a withdrawal has changed a part
            of its files.
        DataError: if its manifest is damaged.
    """
    if withdrawal := unfinished_withdrawal(directory):
        raise ArtifactError(
            f"{directory} holds an unfinished withdrawal ({withdrawal}), so its files differ from "
            f"its {MANIFEST}; run that mswitch withdraw again first."
        )
    return manifest_of_corpus(directory)


def manifest_of_corpus(directory: Path | str) -> CorpusManifest:
    """Returns the manifest of a corpus, also of one with an unfinished withdrawal.

    Raises:
        ArtifactError: if the directory is not a finished corpus.
        DataError: if its manifest is damaged.
    """
    return read_manifest(directory, corpus_stage(directory), CorpusManifest)


class Withdrawal(Struct, frozen=True):
    """A withdrawal that may have changed files.

    Attributes:
        key: key of its workspace.
        reason: its reason.
        sites: its lists, as they were named.
    """

    key: Name
    reason: str
    sites: tuple[str, ...]

    def __str__(self) -> str:
        """The options that the command had."""
        return f"--sites {shlex.join(self.sites)} --reason {shlex.quote(self.reason)}"


def unfinished_withdrawal(corpus: Path | str) -> Withdrawal | None:
    """Returns the withdrawal that may have changed files of a corpus and is not in its manifest.

    Raises:
        DataError: if its record or the manifest is damaged.
    """
    path = join_path(corpus, WITHDRAWAL, UNFINISHED)
    if not exists(path):
        return None
    withdrawal = read_json(path, Withdrawal)
    finished = read_json(join_path(corpus, MANIFEST), _Origin).withdrawals
    return None if withdrawal.key in {one.key for one in finished} else withdrawal


class _Addition(Struct, frozen=True):
    lineage: tuple[str, ...] = ()


class _Withdrawn(Struct, frozen=True):
    key: str = ""
    manifest: str = ""


class _Origin(Struct, frozen=True):
    stage: str
    inputs: dict[str, str] = {}
    addition: _Addition = _Addition()
    selected_from: tuple[str, ...] = ()
    withdrawals: tuple[_Withdrawn, ...] = ()


def lineage_of(corpus: Path | str) -> list[str]:
    """Returns the digests of a corpus and of those that it was made of by additions, in order.

    Raises:
        DataError: if its manifest is damaged.
    """
    origin = read_json(join_path(corpus, MANIFEST), _Origin)
    return [*origin.addition.lineage, digest_of_manifest(corpus)]


def sources_of(corpus: Path | str) -> list[str]:
    """Returns the digests of a corpus and of all that it has pages of.

    These are the corpora that it was made of by additions or selections, and itself before pages
    were withdrawn. A selection of a selection that an earlier version made names the last one only.

    Raises:
        DataError: if its manifest is damaged.
    """
    origin = read_json(join_path(corpus, MANIFEST), _Origin)
    source = origin.inputs.get("corpus") if origin.stage == SELECT else None
    before = [one.manifest for one in origin.withdrawals if one.manifest]
    found = [*origin.selected_from, *([] if source is None else [source]), *before]
    lineage = [*origin.addition.lineage, digest_of_manifest(corpus)]
    return list(dict.fromkeys([*found, *lineage]))


def has_unique_lines(corpus: CorpusManifest) -> bool:
    """Returns whether each line is in one page, as all rules but `none` leave them.

    Masks make lines equal that differ in their personal data alone.
    """
    is_masked = any(rules.get("mask") for rules in corpus.rules.late)
    return corpus.rules.name != none().name and not is_masked
