from contextlib import nullcontext
from itertools import repeat
from types import SimpleNamespace

import pytest

from data.errors import DataError
from model.checkpoints.errors import CheckpointError
from pipeline.training import loop


def nothing(*_):
    return None


def test_a_save_under_way_ends_before_an_error_does(tmp_path, monkeypatch):
    """Otherwise the steps since the last checkpoint would be made again."""
    ended = []
    checkpoints = SimpleNamespace(
        forget_unfinished=nothing, close=lambda: ended.append("checkpoints")
    )

    def damaged(*_):
        raise DataError("a damaged block")

    monkeypatch.setattr(loop, "open_checkpoints", lambda *_: checkpoints)
    monkeypatch.setattr(loop, "resume", lambda *_: (None, 0, []))
    monkeypatch.setattr(loop, "MetricsLog", lambda *_, **__: nullcontext())
    monkeypatch.setattr(loop, "gradient_sites", nothing)
    monkeypatch.setattr(loop._Loop, "run", damaged)
    training = SimpleNamespace(
        recipe=SimpleNamespace(
            stage="pretrain", keep_every=0, model=SimpleNamespace(layers_per_block=1)
        ),
        trainer=SimpleNamespace(shapes=None),
        evaluator=SimpleNamespace(best=tuple),
        examples=SimpleNamespace(languages=()),
        profile=SimpleNamespace(stop=lambda: ended.append("profile")),
        **{"out": tmp_path, "account": None, "console": None, "tracking": None},
    )
    with pytest.raises(DataError, match="damaged block"):
        loop.train(training)
    assert ended == ["checkpoints", "profile"]


def running(out, monkeypatch, done, check=nothing):
    """A loop of nine steps, with a line every third, whose evaluation at step 5 is stopped."""
    monkeypatch.setattr(loop, "device_batches", lambda *_: repeat(None))
    trainer = SimpleNamespace(step=lambda state, *_: (state, None), teacher_arrays=())
    trainer.compiled = lambda *_: trainer
    recipe = {"steps": 9, "checkpoint_every": 9, "log_every": 3}
    training = SimpleNamespace(
        recipe=SimpleNamespace(**recipe, evaluates_at=lambda step: step == 5),
        trainer=trainer,
        evaluator=SimpleNamespace(is_written=lambda _: False, evaluate=nothing),
        out=out,
        account=SimpleNamespace(spend=nullcontext),
        profile=SimpleNamespace(around=nullcontext),
    )
    log = SimpleNamespace(
        step=nothing, doing=nothing, publish=nothing, write_line=lambda step: done.append(step)
    )
    checkpoints = SimpleNamespace(
        steps=list, save=lambda step, _: done.append(f"saved {step}"), check=check
    )
    return loop._Loop(training, checkpoints, log, SimpleNamespace(reached=lambda: False))


def test_a_stop_during_an_evaluation_loses_no_line_of_the_log(tmp_path, monkeypatch):
    done = []
    result = running(tmp_path, monkeypatch, done).run(SimpleNamespace(arrays=None), 0)
    assert result == loop.LoopResult(5, finished=False)
    assert done == [5, "saved 5"]


def test_a_save_that_failed_in_the_background_ends_the_run_at_the_next_line(tmp_path, monkeypatch):
    """Not at the next checkpoint, which may be hours later."""

    def full():
        raise CheckpointError("no room")

    begun = running(tmp_path, monkeypatch, [], full)
    made = []
    begun.log.step = lambda step, _: made.append(step)
    with pytest.raises(CheckpointError, match="no room"):
        begun.run(SimpleNamespace(arrays=None), 0)
    assert made == [1, 2, 3]
