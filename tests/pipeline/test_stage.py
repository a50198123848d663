"""A command that lost the lock on its directory publishes nothing that others rely on."""

import itertools
import json
from collections.abc import Iterator
from contextlib import closing, nullcontext
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from data.errors import DataError
from data.files.atomic import create, write_text
from data.files.growing_files import GrowingFile, WorkingFolder
from data.files.locks import Holder, LockLost, ProcessIdentity, entry_path
from data.files.paths import Address
from pipeline import artifacts
from pipeline.beam.options import pipeline_options
from pipeline.beam.workspace import Workspace
from pipeline.corpus.counts import Tally
from pipeline.curation.withdraw import Withdrawal
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.directory import CheckpointRecord
from pipeline.runs.finished import forget_evaluations
from pipeline.stage import Identity, Intent, Outcome, output_lock, run_stage

FAR = Holder("clean", ProcessIdentity("far", "another machine", 7, 7), "other")
number = itertools.count()


def upload_log(out: Address) -> None:
    log = GrowingFile(out / "metrics.jsonl")
    log.add("{}")
    log.publish()


def upload_folder(out: Address) -> None:
    with closing(WorkingFolder(out / "tensorboard")) as folder:
        (folder.here / "events").touch()
        folder.publish()


def remove_text_of_a_withdrawal(out: Address) -> None:
    manifest = SimpleNamespace(not_asked=SimpleNamespace(pages={"de": 1}), files={})
    given: Any = {"corpus": str(out), "files": [], "manifest": manifest, "place": "", "lists": ()}
    given |= {"sites": (), "reason": "", "unfinished": None, "options": pipeline_options(())}
    Withdrawal(**given).remove(Workspace(str(out / "withdrawal"), "k"), (), Tally())


PUBLISHED = {
    "a manifest": lambda out: artifacts.finish(out, "clean", {}, {}, {}),
    "a claim": lambda out: artifacts.renew(out, "clean", {}, {}),
    "a checkpoint": lambda out: Checkpoints(out / "checkpoints")._commit(
        7, CheckpointRecord("7-a", ["weights"])
    ),
    "a log": upload_log,
    "a folder of a log": upload_folder,
    "the deletion of an older job's files": lambda out: Workspace(out, "new").forget_stale(["x"]),
    "the deletion of text that a withdrawal names": remove_text_of_a_withdrawal,
    "the deletion of an evaluation": lambda out: forget_evaluations(out, lambda _: True),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("is_lost", [True, False])
def test_what_others_rely_on_is_published_by_the_holder_alone(name, is_lost):
    out = Address(f"memory://lost{next(number)}/out")

    def written() -> set[str]:
        return {path for path in fsspec.filesystem("memory").find(out) if "/lock/" not in path}

    lost = pytest.raises(LockLost, match="passed to clean, process 7 on far")
    with output_lock(out, "clean"):
        for path in ("x", "work/old/record", "growth/x", "evaluation/step=7.parquet"):
            write_text(out / path, "x")
        if is_lost:
            create(entry_path(out, 2), json.dumps(FAR).encode())
        before = written()
        with lost if is_lost else nullcontext():
            PUBLISHED[name](out)
        assert (written() == before) == is_lost


def test_a_hint_that_cannot_be_found_ends_no_work_that_is_whole(tmp_path, capsys):
    """The next command is looked for once the manifest is written."""

    def words() -> Iterator[str]:
        assert artifacts.is_finished(tmp_path / "out")
        yield "vocabulary"
        raise DataError("a damaged page")

    identity = Identity({}, {})
    intent = Intent(stage="clean", reads=[], writes="", out=tmp_path / "out", identity=identity)
    assert run_stage(intent, lambda: Outcome({}, "pages", following=words())) is not None
    assert capsys.readouterr().err.splitlines() == ["clean: pages"]
