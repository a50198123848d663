from contextlib import nullcontext
from itertools import repeat
from types import SimpleNamespace

from pipeline.training import loop


def nothing(*_):
    return None


def test_a_stop_during_an_evaluation_loses_no_line_of_the_log(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(loop, "device_batches", lambda *_: repeat(None))
    trainer = SimpleNamespace(step=lambda state, *_: (state, None), teacher_arrays=())
    trainer.compiled = lambda *_: trainer
    training = SimpleNamespace(
        recipe=SimpleNamespace(steps=9, checkpoint_every=9, evaluates_at=lambda step: step == 5),
        trainer=trainer,
        evaluator=SimpleNamespace(is_written=lambda _: False, evaluate=nothing),
        out=tmp_path,
        account=SimpleNamespace(spend=nullcontext),
        profile=SimpleNamespace(around=nullcontext),
    )
    log = SimpleNamespace(
        step=nothing, doing=nothing, publish=nothing, write_line=lambda step: done.append(step)
    )
    checkpoints = SimpleNamespace(steps=list, save=lambda step, _: done.append(f"saved {step}"))
    running = loop._Loop(training, checkpoints, log, SimpleNamespace(reached=lambda: False))
    result = running.run(SimpleNamespace(arrays=None), 0)
    assert result == loop.LoopResult(5, finished=False)
    assert done == [5, "saved 5"]
