"""The loop against a trainer of one number: interrupted anywhere, it ends as if nothing had been.

What a run resumes from, how signals stop it, and what is said if it cannot go on.
"""

from contextlib import nullcontext
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from pipeline.errors import ArtifactError
from pipeline.runs.checkpoint_errors import CheckpointError, damage_error
from pipeline.training import loop
from pipeline.training.loop import resume


class Damaged:
    """Checkpoints of three steps, of which only some can be read."""

    directory = Path("run/checkpoints")

    def __init__(self, *whole):
        self.whole, self.moved = whole, []

    def steps(self):
        return [3, 6, 9]

    def restore(self, step, shapes):
        if step in self.whole:
            return shapes
        raise damage_error(self.directory, step, f"byte {step} is altered")

    def set_aside(self, step):
        self.moved.append(step)
        return f"damaged-{step}"


TRAINER = SimpleNamespace(init=dict, shardings={})


def test_damaged_checkpoints_are_passed_over():
    checkpoints = Damaged(3)
    _, step, messages = resume(checkpoints, TRAINER)
    assert (step, checkpoints.moved) == (3, [9, 6])
    assert messages[0].endswith("It was moved to damaged-9; resuming from 3.")


def test_no_advice_makes_a_run_begin_anew_if_no_checkpoint_can_be_read():
    checkpoints = Damaged()
    with pytest.raises(CheckpointError, match=r"of steps 3, 6, 9 .*name another --out") as error:
        resume(checkpoints, TRAINER)
    assert checkpoints.moved == []
    assert "remove it" not in str(error.value)


def nothing(*_):
    return None


class Killed(Exception):
    """The end of a process, at which all is lost that was not saved."""


class Run:
    """A run of a trainer of one number, whose files are dictionaries.

    Args:
        recipe: steps and intervals.
    """

    def __init__(self, steps, log_every, checkpoint_every, evaluate_every, check=nothing):
        intervals = {"log_every": log_every, "checkpoint_every": checkpoint_every, "rows": 1}
        evaluates = lambda step: step % evaluate_every == 0 or step == steps  # noqa: E731
        self.recipe = SimpleNamespace(steps=steps, **intervals, evaluates_at=evaluates)
        self.saved, self.scored, self.logged, self.lines, self.read = {}, {}, [], set(), []
        self.check = check

    def start(self, stops_at=None, dies_at=None):
        """Starts the run from its last checkpoint.

        Args:
            stops_at: number of the point from which on a signal stops it.
            dies_at: number of the step after which it is killed.
        """
        points, first = count(1), max(self.saved, default=0)

        def should_stop():
            return stops_at is not None and next(points) >= stops_at

        def step(state, batch):
            return SimpleNamespace(arrays=state.arrays / 2 + batch), None

        def evaluate(trainer, arrays, at, stop):
            if stop():
                return None
            assert at not in self.scored
            self.scored[at] = arrays
            return at

        def log(at, metrics):
            self.logged.append(at)
            if at == dies_at:
                raise Killed

        trainer = SimpleNamespace(step=step, teacher_arrays=())
        trainer.with_compiled_step = lambda *_: trainer
        written = SimpleNamespace(is_written=lambda at: at in self.scored, evaluate=evaluate)
        doing = dict.fromkeys(("doing", "publish", "add_evaluation"), nothing)
        training = SimpleNamespace(
            recipe=self.recipe,
            trainer=trainer,
            evaluator=written,
            out=Path("run"),
            account=SimpleNamespace(spend=nullcontext),
            profile=SimpleNamespace(around=nullcontext),
        )
        checkpoints = SimpleNamespace(
            steps=lambda: list(self.saved),
            save=lambda at, state: self.saved.update({at: state.arrays}),
            check=self.check,
        )
        log = SimpleNamespace(step=log, write_line=self.lines.add, **doing)
        batches = (self.read.append(number) or float(number) for number in count(first))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "device_batches", lambda *_: batches)
            listens = SimpleNamespace(should_stop=should_stop)
            state = SimpleNamespace(arrays=self.saved.get(first, 0.0))
            return loop._Loop(training, checkpoints, log, listens).run(state, first)


INTERRUPTIONS = st.lists(st.tuples(st.sampled_from(["stops_at", "dies_at"]), st.integers(1, 12)))


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), INTERRUPTIONS)
def test_stopped_or_killed_anywhere_a_run_ends_as_if_nothing_had_been(
    steps, log_every, checkpoint_every, evaluate_every, interruptions
):
    intervals = steps, log_every, checkpoint_every, evaluate_every
    whole, run = Run(*intervals), Run(*intervals)
    assert whole.start() == loop.LoopResult(0, steps, finished=True)
    assert whole.logged == [*range(1, steps + 1)]
    assert whole.read == [*range(steps)]  # no batch after the last step
    for kind, at in interruptions:
        first = max(run.saved, default=0)
        try:
            result = run.start(**{kind: at})
        except Killed:
            continue
        assert result.first == first
        assert max(run.saved) == result.step  # whatever ended it
        if not result.finished:
            assert {result.step} <= run.lines  # a stop loses no line of the log
    assert run.start().finished
    assert run.scored == whole.scored
    assert {at: run.saved[at] for at in whole.saved if at in run.saved} == whole.saved
    assert whole.lines <= run.lines
    assert set(run.logged) == set(whole.logged)
    assert set(run.read) <= set(whole.read)


def test_where_only_evaluations_are_left_no_step_is_compiled_and_no_batch_read():
    run = Run(9, 3, 9, 9)
    run.saved[9] = 1.0
    assert run.start() == loop.LoopResult(9, 9, finished=True)
    assert (run.scored, run.read) == ({9: 1.0}, [])


def test_a_save_that_failed_in_the_background_ends_the_run_at_the_next_line():
    """Not at the next checkpoint, which may be hours later."""

    def full():
        raise CheckpointError("no room")

    run = Run(9, 3, 9, 9, check=full)
    with pytest.raises(CheckpointError, match="no room"):
        run.start()
    assert run.logged == [1, 2, 3]


@pytest.fixture
def faked(tmp_path, monkeypatch):
    """A training without files, and a list of what ends it."""
    ended = []
    close = lambda: ended.append("checkpoints")  # noqa: E731
    checkpoints = SimpleNamespace(forget_unfinished=nothing, close=close)
    monkeypatch.setattr(loop, "Checkpoints", lambda *_: checkpoints)
    monkeypatch.setattr(loop, "resume", lambda *_: (None, 0, []))
    monkeypatch.setattr(loop, "MetricsLog", lambda *_, **__: nullcontext())
    monkeypatch.setattr(loop, "gradient_sites", nothing)
    recipe = {"stage": "pretrain", "keep_every": 0, "checkpoint_every": 9}
    stop = lambda: ended.append("profile")  # noqa: E731
    training = SimpleNamespace(
        recipe=SimpleNamespace(**recipe, model=SimpleNamespace(layers_per_block=1)),
        trainer=SimpleNamespace(shapes=None),
        evaluator=SimpleNamespace(best=tuple),
        examples=SimpleNamespace(languages=()),
        profile=SimpleNamespace(stop=stop, check_resumed=nothing),
        announce=nothing,
        out=tmp_path,
        account=SimpleNamespace(spend=nullcontext),
        console=None,
        tracking=None,
    )
    return training, ended


def damaged(*_):
    raise DataError("a damaged block")


def test_a_save_under_way_ends_before_an_error_does(faked, monkeypatch):
    """Otherwise the steps since the last checkpoint would be made again."""
    training, ended = faked
    monkeypatch.setattr(loop._Loop, "run", damaged)
    with pytest.raises(DataError, match="damaged block"):
        loop.train(training)
    assert ended == ["checkpoints", "profile"]


@pytest.mark.parametrize(("logged", "refused"), [(18, False), (19, True)])
def test_a_run_whose_checkpoints_are_gone_does_not_begin_again(faked, monkeypatch, logged, refused):
    """A save is under way for one interval at most: of 18 steps there may be no checkpoint yet."""
    training, _ = faked
    monkeypatch.setattr(loop._Loop, "run", damaged)
    (training.out / "metrics.jsonl").write_text(f'{{"step": 3}}\n{{"step": {logged}}}\n')
    expected = pytest.raises(ArtifactError, match="the log has 19 steps, and there is none")
    with expected if refused else pytest.raises(DataError, match="damaged block"):
        loop.train(training)


@pytest.mark.parametrize("asked", [False, True])
def test_a_signal_after_the_last_point_stops_what_follows(faked, monkeypatch, asked):
    """Predictions on test data, or the run of the next seed."""
    training, _ = faked
    monkeypatch.setattr(loop._Loop, "run", lambda *_: loop.LoopResult(0, 9, finished=True))
    listening = SimpleNamespace(asked=asked)
    monkeypatch.setattr(loop, "Preemption", lambda _: nullcontext(listening))
    account = {"seconds": {"stepping": 1.0}, "starts": [], "steps_made_again": 0}
    monkeypatch.setattr(loop, "record_time", lambda *_: account)
    assert loop.train(training).finished is not asked


HANGS = """
import os, signal, threading, time
signal.signal({number}, signal.SIG_DFL)  # which a shell's background ignores
from pipeline.training import loop
loop.GRACE_SECONDS = {grace}
with loop.Preemption("pretrain") as listening:
    os.kill(os.getpid(), {number})
    while listening._stop_at is None:
        time.sleep(0.01)
    assert listening.should_stop() and listening.should_stop()
    {then}
    threading.Event().wait()
"""
# A timer that nobody stops would end the next run in the middle, 25 seconds later.
AFTER_THE_LAST_POINT = """
import os, signal, sys, time
outside = []
signal.signal(signal.SIGTERM, lambda *_: outside.append(1))
from pipeline.training import loop
loop.GRACE_SECONDS = 0.2
for number in range(40):
    with loop.Preemption("pretrain") as listening:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.001 * (number % 4))
    for _ in range(1000):  # a busy machine's thread reads the signal later
        if not (listening.asked or outside):
            time.sleep(0.01)
    assert listening.asked or outside, number
    outside.clear()
time.sleep(0.5)
print("goes on", file=sys.stderr)
"""
AGAIN = "os.kill(os.getpid(), {number})"


@pytest.mark.parametrize(
    ("number", "grace", "then", "said"),
    [
        (15, 0.2, "pass", "could not save within 0.2 s; the same command resumes"),
        # As `timeout` sends it, to the process and to its group, it is one.
        (15, 0.2, AGAIN, "could not save within 0.2 s"),
        (15, 99, "time.sleep(1.1); " + AGAIN, "quits at once (SIGTERM again)"),
        (2, 99, AGAIN, "quits at once (Ctrl-C again); the same command resumes"),
    ],
)
def test_a_process_that_cannot_save_in_time_or_is_asked_twice_ends(
    tmp_path, number, grace, then, said
):
    program = tmp_path / "hangs.py"
    program.write_text(HANGS.format(then=then.format(number=number), number=number, grace=grace))
    process = forked.start(str(program), [])
    _, printed = process.communicate()
    assert process.returncode == 128 + number
    assert "saves after this step and exits within" in printed
    assert said in printed


def test_a_signal_after_the_last_point_is_known_and_no_timer_ends_what_follows(tmp_path):
    (tmp_path / "goes_on.py").write_text(AFTER_THE_LAST_POINT)
    process = forked.start(str(tmp_path / "goes_on.py"), [])
    _, printed = process.communicate()
    assert process.returncode == 0, printed
    assert printed.endswith("goes on\n")
