"""`mswitch finetune` on two toy tasks: learned, resumed, scored, and refused in one sentence."""

import json
import re
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.files.json_files import write_json
from data.tasks.examples import TaskExample, read_task
from data.tokens.tokenizer import MODEL_FILE, load
from eval import compare
from eval.tasks import metrics
from eval.tasks.metrics import task_metrics
from eval.tasks.scores import task_scores
from pipeline import cli
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.finetuning import recipe_of_finetuning
from pipeline.runs.directory import (
    best_saved_step,
    best_step,
    record_score,
    recorded_scores,
    requested_step,
    routing_beside,
    saved_steps,
)
from pipeline.runs.opened_run import load_run, restore
from pipeline.runs.tasks import check_metric, read_predictions, read_task_of
from pipeline.training.tasks import given_tasks
from pipeline.training.tasks.finetuning import Programs, check_mixed_pretraining
from pipeline.training.tasks.given_tasks import Finetuning, read_tasks
from pipeline.training.tasks.scoring import (
    SentenceScorer,
    TaskEvaluator,
    TaskScoring,
    check_may_replace,
    score_in_words,
)

pytestmark = pytest.mark.usefixtures("traced_once")

ROOT = Path(__file__).parents[4]
TOPICS = ROOT / "tests/toy_tasks/topics/topics.yaml"
QUESTIONS = ROOT / "tests/toy_tasks/questions/questions.yaml"
SETTINGS = ("steps=240", "evaluate_every=80", "checkpoint_every=40", "log_every=40")
SETTINGS += ("rows=16", "inputs=48", "optimizer.scale=20", "finetuning.targets=8")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """Two runs of four steps: a dense and a sparse network."""
    directory = tmp_path_factory.mktemp("pretrained")
    with tarfile.open(ROOT / "tests/fixture/artifacts.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory


def mswitch(*words) -> int:
    return cli.run(list(map(str, words)))


def finetune(run, out, *more, settings=SETTINGS):
    return mswitch(
        "finetune", "--run", run, "--task", TOPICS, QUESTIONS, "--out", out, *more,
        "--set", *settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def one_device():
    patch = pytest.MonkeyPatch()
    devices = jax.devices()[:1]
    patch.setattr(jax, "devices", lambda: devices)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory, one_device) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert finetune(pretrained / "switch", out) == 0
    return out


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss_nats"] for line in lines]


@pytest.mark.slow
def test_a_run_learns_its_tasks_and_keeps_its_best_checkpoint(tuned):
    assert losses(tuned)[-1] < 0.7 * losses(tuned)[0]
    best = json.loads((tuned / "best.json").read_text())
    assert list(map(int, best["scores"])) == [0, 80, 160, 240]
    assert best["score"] == max(best["scores"].values()) > best["scores"]["0"]
    assert best["step"] == best_step(tuned) == requested_step(tuned, None)
    assert set(saved_steps(tuned)) == {200, 240, best["step"]}


@pytest.mark.slow
def test_predictions_have_a_row_per_example_and_give_the_score(tuned):
    best = json.loads((tuned / "best.json").read_text())
    means = []
    for word in (TOPICS, QUESTIONS):
        data = read_task(str(word))
        folder = tuned / "tasks" / data.task.name
        for split in ("development", "test"):
            path = folder / f"{split}-step={best['step']}.parquet"
            assert len(read_predictions(path).language) == len(getattr(data, split))
            check_routing(routing_beside(path), {one.language for one in getattr(data, split)})
        path = folder / f"development-step={best['step']}.parquet"
        assert read_task_of(path) == data.task
        metric = task_metrics(data.task.metric, bool(data.task.labels))[0]
        scores = compare.each([(1.0, task_scores([read_predictions(path)], metric))])
        means.append(np.mean([one.value for one in scores.values()]))
    assert np.mean(means) == pytest.approx(best["score"])


def check_routing(path: Path, languages: set[str]) -> None:
    """Every token has its experts in each switch layer, and none is dropped."""
    table = pq.read_table(path).to_pandas()
    assert set(table["language"]) == languages
    assert set(table["stack"]) == {"encoder", "decoder"}
    assert (table["load"].map(sum) == table["tokens"]).all()
    assert (table["tokens"] > 0).all()
    assert not table["dropped"].any()


@pytest.mark.slow
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tuned, pretrained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    whole = json.loads((run / "manifest.json").read_text())
    claim = {name: whole[name] for name in ("stage", "settings", "inputs")}
    (run / "unfinished.json").write_text(json.dumps(claim))
    for path in [run / "manifest.json", *run.glob("tasks/*/*-step=240.parquet")]:
        path.unlink()
    for path in run.glob("tasks/*/test-*"):
        path.unlink()
    (run / "checkpoints/240.json").unlink()
    assert finetune(pretrained / "switch", run) == 0
    assert losses(run) == losses(tuned)
    for path in sorted(tuned.glob("tasks/*/*.parquet")):
        assert (run / path.relative_to(tuned)).read_bytes() == path.read_bytes(), path
    assert (run / "best.json").read_bytes() == (tuned / "best.json").read_bytes()


@pytest.mark.slow
def test_a_finished_run_is_not_said_to_have_looked_into_a_corpus(pretrained, tuned, capsys):
    assert finetune(pretrained / "switch", tuned) == 0
    assert finetune(pretrained / "switch", tuned, "--corpus", pretrained / "corpus") == 2
    assert "was made from other inputs (corpus: new)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_evaluate_predicts_what_finetune_did_and_scores_sentences(tuned, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    step = best_step(run)
    predictions = run / f"tasks/topics/test-step={step}.parquet"
    predictions.unlink()
    assert mswitch("evaluate", "--run", run, "--task", TOPICS, "--sentences", TOPICS) == 0
    assert predictions.read_bytes() == (tuned / predictions.relative_to(run)).read_bytes()
    assert set(pq.read_table(predictions)["overlaps"].to_pylist()) == {None}  # no corpus was given
    table = pq.read_table(run / f"tasks/topics/sentences-step={step}.parquet").to_pandas()
    data = read_task(str(TOPICS))
    assert len(table) == len(data.test)
    assert table["loss_nats"].gt(0).all()
    assert not table["cut"].any()


@pytest.mark.slow
def test_fill_answers_as_a_text_was_predicted(tuned, capsys):
    path = tuned / f"tasks/topics/test-step={best_step(tuned)}.parquet"
    predicted = pq.read_table(path)["prediction"].to_pylist()
    (example, *_), (answer, *_) = read_task(str(TOPICS)).test, predicted
    capsys.readouterr()
    assert mswitch("fill", "--run", tuned, "--tokens", 8, example.input) == 0
    assert capsys.readouterr().out.splitlines()[0] == answer


@pytest.mark.slow
def test_evaluate_loses_nothing_that_predictions_hold(tuned, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    path = run / f"tasks/topics/test-step={best_step(run)}.parquet"
    task = read_task(str(TOPICS)).task
    check_may_replace(path.with_name("other.parquet"), task, None)  # nothing to replace
    check_may_replace(path, task, None)
    with pytest.raises(ArtifactError, match="predictions of another description of topics"):
        check_may_replace(path, replace(task, input="{text}"), None)
    with pytest.raises(ArtifactError, match="predictions of another description of topics"):
        # Beams have a file of their own, and the description lies beside both.
        check_may_replace(
            path.with_name("test-2-beams-step=9"), replace(task, input="{text}"), None
        )
    table = pq.read_table(path)
    at, marks = table.schema.get_field_index("overlaps"), [[False] * table.num_rows]
    pq.write_table(table.set_column(at, table.field(at), marks), path)
    check_may_replace(path, task, "corpus")
    with pytest.raises(ArtifactError, match="none was named; name it with --corpus"):
        check_may_replace(path, task, None)


def test_the_pages_are_read_once_for_all_tasks(monkeypatch):
    class Corpus:
        languages = ("sw",)

    read = []
    words = " ".join(f"neno{number}" for number in range(20))
    monkeypatch.setattr(given_tasks, "read_corpus", lambda corpus: Corpus)
    monkeypatch.setattr(given_tasks, "_pages", lambda *asked: read.append(asked) or [("sw", words)])
    own, other = (
        TaskExample("sw", text, text, "", (), (text,)) for text in (words, words.upper()[:9])
    )
    found = given_tasks.overlaps_with("corpus", [[other, own], [], [own, other, own]])
    assert found == [{1}, set(), {0, 2}]
    assert read == [("corpus", ["sw"])]
    assert given_tasks.overlaps_with(None, [[own], [other]]) == [None, None]


@pytest.mark.slow
def test_an_answer_is_as_long_whatever_other_tasks_are_named(tuned):
    recipe, trainer = load_run(tuned)
    recipe = replace(recipe, finetuning=replace(recipe.finetuning, tasks=("topics",), targets=16))
    scoring = TaskScoring(tuned, recipe, trainer, None, 0)
    topics, other = (read_task(str(one)) for one in (TOPICS, QUESTIONS))
    long = other._replace(train=[other.train[0]._replace(target="word " * 50)])
    assert scoring.evaluator(topics, 1).targets == 16 < scoring.evaluator(long, 1).targets


@pytest.mark.slow
def test_all_tasks_are_checked_before_the_first_is_scored(tuned, tmp_path, capsys):
    description = tmp_path / "untested.yaml"
    text = TOPICS.read_text().replace("name: topics", "name: untested")
    description.write_text(text.replace(", test: test}", "}"))
    shutil.copy(TOPICS.with_name("topics.tsv"), tmp_path)
    words = "evaluate", "--run", tuned, "--task", TOPICS, description
    (path,) = (tuned / "tasks/topics").glob("test-step=*.parquet")
    written = path.stat().st_mtime_ns
    for more in ((), ("--dry-run",)):
        assert mswitch(*words, *more) == 2
        assert "was to be scored on its test split" in " ".join(capsys.readouterr().err.split())
    words = "evaluate", "--run", tuned, "--task", TOPICS, "--corpus", tmp_path, "--dry-run"
    assert mswitch(*words) == 2
    assert path.stat().st_mtime_ns == written


def test_chrf_without_its_library_is_refused_before_training(monkeypatch):
    task = replace(read_task(str(QUESTIONS)).task, metric="chrf")
    metrics.library.cache_clear()
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.chrf", None)
    with pytest.raises(DataError, match="chrF needs the package sacrebleu"):
        check_metric(task)
    monkeypatch.undo()
    metrics.library.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting, says",
    [
        ("model.switch.experts=4", r"switch has another shape than recipe .*experts: there 8"),
        ("model.distance_slope=0.5", r"distance_slope: there"),
    ],
)
def test_another_network_than_the_runs_is_refused_at_once(
    pretrained, tmp_path, capsys, setting, says
):
    assert finetune(pretrained / "switch", tmp_path / "out", settings=(*SETTINGS, setting)) == 2
    assert re.search(says, " ".join(capsys.readouterr().err.split()))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_tokens_to_mix_in_are_checked(pretrained, tmp_path, capsys):
    tokens = tmp_path / "tokens"
    shutil.copytree(pretrained / "tokens", tokens)
    next((tokens / "en").glob("train-*.arrayrecord")).unlink()
    more = "--tokens", tokens, "--pretraining-share", "0.5", "--dry-run"
    settings = [one for one in SETTINGS if "targets" not in one]
    assert finetune(pretrained / "switch", tmp_path / "out", *more, settings=settings) == 2
    assert "which is missing" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_an_answer_is_as_long_as_the_run_learned(tuned):
    """Other tasks may need more; a task of test data alone names no target to measure."""
    recipe, (data, other) = load_run(tuned)[0], (read_task(str(one)) for one in (TOPICS, QUESTIONS))
    learned = replace(recipe.finetuning, targets=24)
    recipe = replace(recipe, finetuning=learned)

    def of(data, recipe=recipe, **changes):
        task = replace(data.task, **changes)
        tasks = (data._replace(task=task),)
        return Finetuning(tasks, load(tuned / MODEL_FILE), tuned / MODEL_FILE).answer_tokens(recipe)

    assert of(data) == of(other) == 24
    long = data._replace(train=[data.train[0]._replace(target="word " * 50)])
    assert of(long, name="new") > 24
    alone = other._replace(train=[], development=[])
    assert of(alone, name="new") == 24
    assert of(alone, replace(recipe, finetuning=None)) == 512


@pytest.mark.slow
def test_what_training_loses_is_counted(tuned):
    recipe, data = replace(load_run(tuned)[0], inputs=16), read_task(str(TOPICS))
    data = data._replace(set_aside={"other_split": 1_200, "no_answers": 3})
    finetuning = Finetuning((data,), load(tuned / MODEL_FILE), tuned / MODEL_FILE)
    first, *cut = finetuning.lost(finetuning.sources(recipe), recipe.lengths)
    assert first == "topics: 1,203 rows set aside (1,200 other_split, 3 no_answers)."
    assert cut
    assert all(
        "inputs have more than 16 tokens and lost their end; --set inputs=N allows" in one
        for one in cut
    )


def test_a_dry_run_names_tasks_and_what_they_lose(pretrained, tmp_path, one_device, capsys):
    short = [one.replace("inputs=48", "inputs=16") for one in SETTINGS]
    assert finetune(pretrained / "switch", tmp_path / "run", "--dry-run", settings=short) == 0
    printed = capsys.readouterr().out
    data = {one: read_task(str(one)) for one in (TOPICS, QUESTIONS)}
    for path, one in data.items():
        line = next(line for line in printed.splitlines() if f"read task {one.task.name}: " in line)
        counts = f"{len(one.train):,} training, {len(one.development):,} development, "
        assert counts + f"{len(one.test):,} test examples, trained in " in line
        assert line.endswith(f"in {path.parent}"), line
    assert "inputs of training lose their end" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_pretraining_needs_room_for_its_targets(tuned):
    recipe = load_run(tuned)[0]
    mixed = replace(recipe.finetuning, pretraining_share=0.5, targets=8)
    recipe = replace(recipe, inputs=1024, finetuning=mixed)
    with pytest.raises(ArtifactError, match=r"was 8, .* 1024 inputs has 229 .*=229 or more"):
        check_mixed_pretraining(recipe, object())


@pytest.mark.slow
def test_a_fine_tuned_run_is_inspected_like_any_other(tuned, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    assert mswitch("inspect", run) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "fingerprint" in printed
    assert "held-out pages" not in printed
    best = json.loads((run / "best.json").read_text())
    marked = f"step {best['step']}: {best['score']:.1f} % on development data, the best"
    assert marked in printed
    assert re.search(
        r"topics: [0-9.]+ %, mean of [0-9] languages, of [0-9]+ predictions in", printed
    )
    for damaged in run.glob("checkpoints/*/*/c/**/*"):
        if damaged.is_file():
            damaged.write_bytes(bytes(damaged.stat().st_size))
    assert mswitch("inspect", run) == 2


@pytest.mark.slow
def test_answers_of_beams_have_a_file_of_their_own(tuned, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    words = ("evaluate", "--run", run, "--task", QUESTIONS, "--beams", 2)
    assert mswitch(*words) == 0
    folder = run / "tasks/questions"
    searched = read_predictions(folder / f"test-2-beams-step={best_step(run)}.parquet")
    greedy = read_predictions(folder / f"test-step={best_step(run)}.parquet")
    assert len(searched.prediction) == len(greedy.prediction)
    assert all(isinstance(text, str) for text in searched.prediction)
    assert mswitch(*words[:-1], 0) == 2


@pytest.mark.slow
def test_a_sentence_costs_the_same_in_any_company(tuned, one_device):
    recipe, trainer = load_run(tuned)
    arrays, _ = restore(tuned, trainer, None)
    scorer = SentenceScorer(trainer, recipe, load(tuned / "sentencepiece.model"))
    examples = read_task(str(TOPICS)).test
    whole, some = (
        scorer.losses(arrays, part)["loss_nats"].to_numpy() for part in (examples, examples[5:8])
    )
    np.testing.assert_allclose(some, whole[5:8], rtol=1e-5)


@pytest.mark.slow
def test_a_fine_tuned_run_is_exported_with_the_languages_of_its_tasks(tuned, tmp_path):
    assert mswitch("export-hf", "--run", tuned, "--out", tmp_path / "out") == 0
    card = (tmp_path / "out/README.md").read_text()
    assert "language:\n- eng\n- swa\n- zho\n" in card
    assert "It is fine-tuned on topics, questions." in card


@pytest.mark.slow
def test_nothing_to_evaluate_is_one_sentence(tuned, pretrained, capsys):
    tokens = "--tokens", pretrained / "tokens"
    for words, says in (
        ((), "--tokens DIR"),
        ((*tokens, "--corpus", "c"), "leave --corpus out"),
        ((*tokens, "--beams", "2"), "leave --beams out"),
    ):
        assert mswitch("evaluate", "--run", tuned, *words) == 2
        assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_fine_tuned_run_teaches_a_dense_one(tuned, pretrained, tmp_path):
    out, last = tmp_path / "student", ("steps=20", "evaluate_every=20", "checkpoint_every=20")
    assert finetune(pretrained / "mt5", out, "--teacher", tuned, settings=(*SETTINGS, *last)) == 0
    record = json.loads((out / "recipe.json").read_text())
    assert record["teacher"]["step"] == best_step(tuned)
    assert record["recipe"]["distillation"]["initialization"] == "random"
    assert list(out.glob("tasks/*/test-step=*.parquet"))


@pytest.mark.slow
def test_a_teacher_of_other_tasks_is_refused(tuned, pretrained, tmp_path, capsys):
    out = tmp_path / "student"
    words = ("--task", TOPICS, "--teacher", tuned, "--languages", "en", "--set", *SETTINGS)
    assert mswitch("finetune", "--run", pretrained / "mt5", "--out", out, *words) == 2
    assert "was not fine-tuned on task topics" in capsys.readouterr().err.replace("\n", " ")


def test_an_evaluation_counts_once_its_score_is_recorded(tmp_path):
    """A kill between predictions and score would otherwise leave a step that is never the best."""
    recipe = recipe_of_finetuning(named.get("switch-demo"), ["topics"], [], 8, 0.0)
    data = read_task(str(TOPICS))
    evaluator = TaskEvaluator((data,), None, recipe, tmp_path, 8, {})
    path = evaluator.file(data, "development", 200)
    path.parent.mkdir(parents=True)
    path.touch()
    assert not evaluator.is_written(200)
    record_score(tmp_path, 200, 40.0)
    assert evaluator.is_written(200)
    record_score(tmp_path, 400, 40.0)
    assert best_step(tmp_path) == 200  # of equal scores the first
    assert not evaluator.is_written(400)  # its predictions are not there


def test_without_the_weights_of_the_best_step_the_next_best_counts(tmp_path):
    """A damaged checkpoint is removed; the command would end at its name for ever."""
    for step, score in ((0, 10.0), (200, 30.0), (400, 60.0), (600, 30.0), (800, 50.0)):
        record_score(tmp_path, step, score)
    assert best_saved_step(tmp_path) == 400  # without any checkpoint nothing is forgotten
    for step in (400, 600, 800):
        write_json(tmp_path / f"checkpoints/{step}.json", {"folder": f"{step}-0", "arrays": []})
    assert best_saved_step(tmp_path) == best_step(tmp_path) == 400
    (tmp_path / "checkpoints/400.json").unlink()
    assert best_saved_step(tmp_path) == best_step(tmp_path) == 800
    (tmp_path / "checkpoints/800.json").unlink()
    assert best_saved_step(tmp_path) == best_step(tmp_path) == 600  # and not 200, of equal score
    assert recorded_scores(tmp_path) == {0: 10.0, 600: 30.0}


@pytest.mark.parametrize(
    ("languages", "scored"), [((), "en sw zh"), (("en",), "en sw zh"), (("sw", "en"), "en sw")]
)
def test_several_languages_are_those_of_the_scores_too(languages, scored):
    (data,) = read_tasks([str(TOPICS)], languages, own=False)
    for part in (data.development, data.test):
        assert sorted({example.language for example in part}) == scored.split()


def test_the_score_of_the_largest_class_stands_beside_accuracy():
    data = read_task(str(TOPICS))
    example = data.test[0]
    test = [example._replace(language="sw", target=topic) for topic in ("food", "food", "animal")]
    test += [example._replace(language="en", target="animal")]
    said = score_in_words(data, {"sw": 50.0, "en": 70.0}, test, " on test data")
    assert said == (
        "topics: 60.0 % on test data, mean of 2 languages (always the largest class: 83.3 %, "
        "a random label: 50.0 %); no more than that class: try more steps, or a run that was "
        "pretrained for longer"
    )
    better = score_in_words(data, {"sw": 90.0, "en": 80.0}, test)
    assert better.endswith("a random label: 50.0 %)")


@pytest.mark.parametrize(
    ("languages", "expected"), [((), 30.0), (("en",), 50.0), (("swa", "en"), 40.0), (("yo",), 30.0)]
)
def test_the_best_step_is_chosen_on_training_languages(tmp_path, languages, expected):
    recipe = recipe_of_finetuning(named.get("switch-demo"), ["topics"], languages, 8, 0.0)
    evaluator = TaskEvaluator((), None, recipe, tmp_path, 8, {})
    assert evaluator.chosen_by({"en": 50.0, "sw": 30.0, "zh": 10.0}) == expected


def test_programs_serve_other_languages_and_no_other_seed():
    recipe = recipe_of_finetuning(named.get("switch-demo"), ["topics"], ["en"], 8, 0.0)
    programs = Programs(recipe, None, {}, {})
    other = replace(recipe.finetuning, languages=("sw",))
    assert programs.serve(replace(recipe, finetuning=other))
    assert not programs.serve(replace(recipe, seed=1))


@pytest.mark.slow
def test_one_run_per_language_trains_and_predicts_that_language(pretrained, tmp_path, one_device):
    settings = ("steps=2", "evaluate_every=2", "checkpoint_every=2", "rows=8", "inputs=32")
    words = ("--each-language", "--languages", "en", "sw", "--set", *settings)
    out = tmp_path / "run"
    assert (
        mswitch("finetune", "--run", pretrained / "mt5", "--task", TOPICS, "--out", out, *words)
        == 0
    )
    for code in ("en", "sw"):
        mixture = json.loads((tmp_path / f"run-{code}/mixture.json").read_text())["languages"]
        assert list(mixture) == [f"topics/{code}"]
        (path,) = (tmp_path / f"run-{code}/tasks/topics").glob("test-step=*.parquet")
        assert set(read_predictions(path).language) == {code}
        assert not list(path.parent.glob("routing-*"))  # a dense network has no experts
    predicted = path.read_bytes()
    assert mswitch("evaluate", "--run", tmp_path / "run-sw", "--task", TOPICS) == 0
    assert path.read_bytes() == predicted  # and not those of all languages


@pytest.mark.slow
def test_an_imported_checkpoint_learns_what_the_exported_run_does(pretrained, tmp_path, one_device):
    theirs, imported = tmp_path / "transformers", tmp_path / "imported"
    assert mswitch("export-hf", "--run", pretrained / "mt5", "--out", theirs) == 0
    assert mswitch("import-hf", theirs, "--out", imported, "--inputs", 32, "--rows", 8) == 0
    settings = ("steps=2", "evaluate_every=2", "checkpoint_every=2", "log_every=1")
    for name, run in (("ours", pretrained / "mt5"), ("theirs", imported)):
        words = ("--run", run, "--task", TOPICS, "--out", tmp_path / name)
        assert mswitch("finetune", *words, "--set", *settings, "rows=8", "inputs=32") == 0
    np.testing.assert_allclose(losses(tmp_path / "theirs"), losses(tmp_path / "ours"), rtol=1e-6)
    assert losses(tmp_path / "ours")[1] != losses(tmp_path / "ours")[0]
    (path,) = (tmp_path / "theirs/tasks/topics").glob("test-step=*.parquet")
    assert len(read_predictions(path).language) == len(read_task(str(TOPICS)).test)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "evaluate_every=15"), "multiple of checkpoint_every"),
        (("--pretraining-share", "0.1"), "without --tokens"),
        (("--languages", "yo"), "no training example"),
        (("--set", "finetuning.dropout=1"), "below 1"),
        (("--task", "nothing.yaml"), "does not exist"),
        (("--corpus", "nothing"), "clean output was expected in nothing"),
        (("--set", "mixture=temperatur:0.3"), "temperature:ALPHA"),
        (("--set", "mixture=weights:w.tsv"), "a source here is a language of a task"),
        (("--each-language", "--languages", "en", "yo"), "no development examples of yo"),
    ],
)
def test_bad_arguments_are_one_sentence(pretrained, tmp_path, capsys, words, says):
    given = ("--task", TOPICS) if words[0] != "--task" else ()
    out = tmp_path / "run"
    assert mswitch("finetune", "--run", pretrained / "mt5", *given, "--out", out, *words) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")
    assert not out.exists()
