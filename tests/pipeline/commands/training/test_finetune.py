"""`mswitch finetune` on two toy tasks: learned, resumed, scored, and refused in one sentence."""

import json
import re
import shutil
import sys
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
slow = pytest.mark.slow

TASKS = Path(__file__).parents[3] / "toy_tasks"
TOPICS, QUESTIONS = TASKS / "topics/topics.yaml", TASKS / "questions/questions.yaml"
SETTINGS = ("steps=240", "evaluate_every=80", "checkpoint_every=40", "log_every=40")
SETTINGS += ("rows=16", "inputs=48", "optimizer.scale=20", "finetuning.targets=8")
SHORT = ("steps=2", "evaluate_every=2", "checkpoint_every=2", "log_every=1", "rows=8", "inputs=32")


def mswitch(*words):
    return cli.run(list(map(str, words)))


def finetune(run, out, *more, settings=SETTINGS):
    words = "--run", run, "--task", TOPICS, QUESTIONS, "--out", out
    return mswitch("finetune", *words, *more, "--set", *settings)


def refused(capsys, *words):
    """The message of a command that was refused."""
    assert mswitch(*words) == 2
    return " ".join(capsys.readouterr().err.split())


def recorded(run, name):
    return json.loads((run / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def one_device():
    devices = jax.devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: devices)
        yield


@pytest.fixture(scope="module")
def tuned(artifacts, tmp_path_factory, one_device):
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert finetune(artifacts / "switch", out) == 0
    return out


@pytest.fixture
def copied(tuned, tmp_path):
    """A copy of the tuned run, which may be changed."""
    return Path(shutil.copytree(tuned, tmp_path / "copied"))


def losses(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss_nats"] for line in lines]


@slow
def test_a_run_learns_its_tasks_and_keeps_its_best_checkpoint(tuned):
    assert losses(tuned)[-1] < 0.7 * losses(tuned)[0]
    best = recorded(tuned, "best")
    assert list(map(int, best["scores"])) == [0, 80, 160, 240]
    assert best["score"] == max(best["scores"].values()) > best["scores"]["0"]
    assert best["step"] == best_step(tuned) == requested_step(tuned, None)
    assert set(saved_steps(tuned)) == {200, 240, best["step"]}


@slow
def test_predictions_have_a_row_per_example_and_give_the_score(tuned):
    """Every token has its experts in each switch layer, and none is dropped."""
    best, means = recorded(tuned, "best"), []
    for data in (read_task(str(word)) for word in (TOPICS, QUESTIONS)):
        paths = {
            split: tuned / f"tasks/{data.task.name}/{split}-step={best['step']}.parquet"
            for split in ("development", "test")
        }
        for split, path in paths.items():
            examples, routing = (
                getattr(data, split),
                pq.read_table(routing_beside(path)).to_pandas(),
            )
            assert len(read_predictions(path).language) == len(examples)
            assert set(routing["language"]) == {one.language for one in examples}
            assert set(routing["stack"]) == {"encoder", "decoder"}
            assert (routing["load"].map(sum) == routing["tokens"]).all()
            assert (routing["tokens"] > 0).all()
            assert not routing["dropped"].any()
        assert read_task_of(paths["development"]) == data.task
        metric = task_metrics(data.task.metric, bool(data.task.labels))[0]
        development = task_scores([read_predictions(paths["development"])], metric)
        scores = compare.each([(1.0, development)])
        means.append(np.mean([one.value for one in scores.values()]))
    assert np.mean(means) == pytest.approx(best["score"])


@slow
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tuned, artifacts, copied):
    whole = recorded(copied, "manifest")
    write_json(copied / "unfinished.json", {n: whole[n] for n in ("stage", "settings", "inputs")})
    last = [*copied.glob("tasks/*/*-step=240.parquet"), *copied.glob("tasks/*/test-*")]
    for path in {copied / "manifest.json", copied / "checkpoints/240.json", *last}:
        path.unlink()
    assert finetune(artifacts / "switch", copied) == 0
    assert losses(copied) == losses(tuned)
    for path in [*tuned.glob("tasks/*/*.parquet"), tuned / "best.json"]:
        assert (copied / path.relative_to(tuned)).read_bytes() == path.read_bytes(), path


@slow
def test_evaluate_predicts_what_finetune_did_and_scores_sentences(tuned, copied):
    step = best_step(copied)
    predictions = copied / f"tasks/topics/test-step={step}.parquet"
    predictions.unlink()
    assert mswitch("evaluate", "--run", copied, "--task", TOPICS, "--sentences", TOPICS) == 0
    assert predictions.read_bytes() == (tuned / predictions.relative_to(copied)).read_bytes()
    assert set(pq.read_table(predictions)["overlaps"].to_pylist()) == {None}  # no corpus was given
    table = pq.read_table(copied / f"tasks/topics/sentences-step={step}.parquet").to_pandas()
    assert len(table) == len(read_task(str(TOPICS)).test)
    assert table["loss_nats"].gt(0).all()
    assert not table["cut"].any()


@slow
def test_fill_answers_as_a_text_was_predicted(tuned, capsys):
    path = tuned / f"tasks/topics/test-step={best_step(tuned)}.parquet"
    predicted = pq.read_table(path)["prediction"].to_pylist()
    capsys.readouterr()
    text = read_task(str(TOPICS)).test[0].input
    assert mswitch("fill", "--run", tuned, "--tokens", 8, text) == 0
    assert capsys.readouterr().out.splitlines()[0] == predicted[0]


@slow
def test_evaluate_loses_nothing_that_predictions_hold(copied):
    path = copied / f"tasks/topics/test-step={best_step(copied)}.parquet"
    task = read_task(str(TOPICS)).task
    check_may_replace(path.with_name("other.parquet"), task, None)  # nothing to replace
    check_may_replace(path, task, None)
    for one in (path, path.with_name("test-2-beams-step=9")):  # the description lies beside both
        with pytest.raises(ArtifactError, match="another description of topics"):
            check_may_replace(one, replace(task, input="{text}"), None)
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
    texts = words, words.upper()[:9]
    own, other = (TaskExample("sw", text, text, "", (), (text,)) for text in texts)
    found = given_tasks.overlaps_with("corpus", [[other, own], [], [own, other, own]])
    assert found == [{1}, set(), {0, 2}]
    assert read == [("corpus", ["sw"])]
    assert given_tasks.overlaps_with(None, [[own], [other]]) == [None, None]


@slow
def test_all_tasks_are_checked_before_the_first_is_scored(tuned, tmp_path, capsys):
    description = tmp_path / "untested.yaml"
    text = TOPICS.read_text().replace("name: topics", "name: untested")
    description.write_text(text.replace(", test: test}", "}"))
    shutil.copy(TOPICS.with_name("topics.tsv"), tmp_path)
    words = "evaluate", "--run", tuned, "--task", TOPICS
    (path,) = (tuned / "tasks/topics").glob("test-step=*.parquet")
    written = path.stat().st_mtime_ns
    for more in ((), ("--dry-run",)):
        said = refused(capsys, *words, description, *more)
        assert "was to be scored on its test split" in said
    refused(capsys, *words, "--corpus", tmp_path, "--dry-run")
    assert path.stat().st_mtime_ns == written


def test_chrf_without_its_library_is_refused_before_training(monkeypatch):
    task = replace(read_task(str(QUESTIONS)).task, metric="chrf")
    metrics.library.cache_clear()
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.chrf", None)
    with pytest.raises(DataError, match="chrF needs the package sacrebleu"):
        check_metric(task)
    metrics.library.cache_clear()


@slow
def test_tokens_to_mix_in_are_checked(artifacts, tmp_path, capsys):
    tokens = Path(shutil.copytree(artifacts / "tokens", tmp_path / "tokens"))
    next((tokens / "en").glob("train-*.arrayrecord")).unlink()
    more = "--tokens", tokens, "--pretraining-share", "0.5", "--dry-run", "--set", *SETTINGS[:-1]
    words = "finetune", "--run", artifacts / "switch", "--task", TOPICS, "--out", tmp_path / "out"
    assert "which is missing" in refused(capsys, *words, *more)


@slow
def test_an_answer_is_as_long_as_the_run_learned(tuned):
    """Other tasks may need more; a task of test data alone names no target to measure."""
    recipe, trainer = load_run(tuned)
    data, other = (read_task(str(one)) for one in (TOPICS, QUESTIONS))
    learned = replace(recipe, finetuning=replace(recipe.finetuning, targets=24, tasks=("topics",)))
    wordy = [other.train[0]._replace(target="word " * 50)]

    def tokens_of(data, recipe=learned, **changes):
        tasks = (data._replace(task=replace(data.task, **changes)),)
        return Finetuning(tasks, load(tuned / MODEL_FILE), tuned / MODEL_FILE).answer_tokens(recipe)

    assert tokens_of(data) == 24
    assert tokens_of(data._replace(train=wordy), name="new") > 24
    alone = other._replace(train=[], development=[])
    assert tokens_of(alone, name="new") == 24
    assert tokens_of(alone, replace(learned, finetuning=None)) == 512
    scoring = TaskScoring(tuned, learned, trainer, None, 0)
    long = scoring.evaluator(other._replace(train=wordy), 1)
    assert scoring.evaluator(data, 1).targets == 24 < long.targets


@slow
def test_what_training_loses_is_counted(tuned):
    recipe, data = replace(load_run(tuned)[0], inputs=16), read_task(str(TOPICS))
    data = data._replace(set_aside={"other_split": 1_200, "no_answers": 3})
    finetuning = Finetuning((data,), load(tuned / MODEL_FILE), tuned / MODEL_FILE)
    first, *cut = finetuning.lost(finetuning.sources(recipe), recipe.lengths)
    assert first == "topics: 1,203 rows set aside (1,200 other_split, 3 no_answers)."
    assert cut
    assert all("16 tokens and lost their end; --set inputs=N allows" in one for one in cut)


def test_a_dry_run_names_tasks_and_what_they_lose(artifacts, tmp_path, one_device, capsys):
    short = [one.replace("inputs=48", "inputs=16") for one in SETTINGS]
    assert finetune(artifacts / "switch", tmp_path / "run", "--dry-run", settings=short) == 0
    printed = capsys.readouterr().out
    for path in (TOPICS, QUESTIONS):
        data = read_task(str(path))
        (line,) = re.findall(rf"read task {data.task.name}: .*", printed)
        counts = f"{len(data.train):,} training, {len(data.development):,} development, "
        assert counts + f"{len(data.test):,} test examples, trained in " in line
        assert line.endswith(f"in {path.parent}"), line
    assert "inputs of training lose their end" in printed
    assert not (tmp_path / "run").exists()


@slow
def test_pretraining_needs_room_for_its_targets(tuned):
    recipe = load_run(tuned)[0]
    mixed = replace(recipe.finetuning, pretraining_share=0.5, targets=8)
    with pytest.raises(ArtifactError, match=r"was 8, .* 1024 inputs has 229 .*=229 or more"):
        check_mixed_pretraining(replace(recipe, inputs=1024, finetuning=mixed), object())


@slow
def test_a_fine_tuned_run_is_inspected_and_exported_like_any_other(copied, tmp_path, capsys):
    assert mswitch("inspect", copied) == 0
    printed, best = " ".join(capsys.readouterr().out.split()), recorded(copied, "best")
    assert "fingerprint" in printed
    assert "held-out pages" not in printed
    assert f"step {best['step']}: {best['score']:.1f} % on development data, the best" in printed
    assert re.search(r"topics: [0-9.]+ %, mean of [0-9] languages, of [0-9]+ predictions", printed)
    assert mswitch("export-hf", "--run", copied, "--out", tmp_path / "out") == 0
    card = (tmp_path / "out/README.md").read_text()
    assert "language:\n- eng\n- swa\n- zho\n" in card
    assert "It is fine-tuned on topics, questions." in card
    for damaged in copied.glob("checkpoints/*/*/c/**/*"):
        if damaged.is_file():
            damaged.write_bytes(bytes(damaged.stat().st_size))
    assert mswitch("inspect", copied) == 2


@slow
def test_answers_of_beams_have_a_file_of_their_own(copied):
    assert mswitch("evaluate", "--run", copied, "--task", QUESTIONS, "--beams", 2) == 0
    folder, step = copied / "tasks/questions", best_step(copied)
    files = (f"test-2-beams-step={step}.parquet", f"test-step={step}.parquet")
    searched, greedy = (read_predictions(folder / name).prediction for name in files)
    assert len(searched) == len(greedy)
    assert all(isinstance(text, str) for text in searched)


@slow
def test_a_sentence_costs_the_same_in_any_company(tuned, one_device):
    recipe, trainer = load_run(tuned)
    arrays, _ = restore(tuned, trainer, None)
    scorer = SentenceScorer(trainer, recipe, load(tuned / MODEL_FILE))
    examples = read_task(str(TOPICS)).test
    parts = (scorer.losses(arrays, part)["loss_nats"] for part in (examples, examples[5:8]))
    whole, some = (part.to_numpy() for part in parts)
    np.testing.assert_allclose(some, whole[5:8], rtol=1e-5)


@slow
def test_a_fine_tuned_run_teaches_a_dense_one(tuned, artifacts, tmp_path):
    out, last = tmp_path / "student", ("steps=20", "evaluate_every=20", "checkpoint_every=20")
    assert finetune(artifacts / "mt5", out, "--teacher", tuned, settings=(*SETTINGS, *last)) == 0
    record = recorded(out, "recipe")
    assert record["teacher"]["step"] == best_step(tuned)
    assert record["recipe"]["distillation"]["initialization"] == "random"
    assert list(out.glob("tasks/*/test-step=*.parquet"))


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
    for step in (400, 800, 600):  # and not 200, of equal score
        assert best_saved_step(tmp_path) == best_step(tmp_path) == step
        (tmp_path / f"checkpoints/{step}.json").unlink()
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
    topics = ("sw", "food"), ("sw", "food"), ("sw", "animal"), ("en", "animal")
    test = [data.test[0]._replace(language=code, target=topic) for code, topic in topics]
    said = score_in_words(data, {"sw": 50.0, "en": 70.0}, test, " on test data")
    assert said.startswith(
        "topics: 60.0 % on test data, mean of 2 languages (always the largest class: 83.3 %, "
        "a random label: 50.0 %); no more than that class"
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


@slow
def test_one_run_per_language_trains_and_predicts_that_language(artifacts, tmp_path, one_device):
    words = "--run", artifacts / "mt5", "--task", TOPICS, "--out", tmp_path / "run"
    asked = "--each-language", "--languages", "en", "sw", "--set", *SHORT
    assert mswitch("finetune", *words, *asked) == 0
    for code in ("en", "sw"):
        run = tmp_path / f"run-{code}"
        assert list(recorded(run, "mixture")["languages"]) == [f"topics/{code}"]
        (path,) = (run / "tasks/topics").glob("test-step=*.parquet")
        assert set(read_predictions(path).language) == {code}
        assert not list(path.parent.glob("routing-*"))  # a dense network has no experts
    predicted = path.read_bytes()
    assert mswitch("evaluate", "--run", run, "--task", TOPICS) == 0
    assert path.read_bytes() == predicted  # and not those of all languages


@slow
def test_an_imported_checkpoint_learns_what_the_exported_run_does(artifacts, tmp_path, one_device):
    exported, imported = tmp_path / "transformers", tmp_path / "imported"
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert mswitch("export-hf", "--run", artifacts / "mt5", "--out", exported) == 0
    assert mswitch("import-hf", exported, "--out", imported, "--inputs", 32, "--rows", 8) == 0
    for out, run in ((ours, artifacts / "mt5"), (theirs, imported)):
        words = "--run", run, "--task", TOPICS, "--out", out
        assert mswitch("finetune", *words, "--set", *SHORT) == 0
    np.testing.assert_allclose(losses(theirs), losses(ours), rtol=1e-6)
    assert losses(ours)[1] != losses(ours)[0]
    (path,) = (theirs / "tasks/topics").glob("test-step=*.parquet")
    assert len(read_predictions(path).language) == len(read_task(str(TOPICS)).test)


@slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("finetune {dense} --set evaluate_every=15", "multiple of checkpoint_every"),
        ("finetune {dense} --pretraining-share 0.1", "without --tokens"),
        ("finetune {dense} --languages yo", "no training example"),
        ("finetune {dense} --set finetuning.dropout=1", "below 1"),
        ("finetune {run}/mt5 --task nothing.yaml", "does not exist"),
        ("finetune {dense} --corpus nothing", "clean output was expected in nothing"),
        ("finetune {dense} --set mixture=temperatur:0.3", "temperature:ALPHA"),
        ("finetune {dense} --set mixture=weights:w.tsv", "a source here is a language of a task"),
        ("finetune {dense} --each-language --languages en yo", "no development examples of yo"),
        (
            "finetune {dense} --teacher {tuned} --languages en --set {settings}",
            "was not fine-tuned on task topics",
        ),
        ("finetune {sparse} --set model.switch.experts=4", "another shape than recipe"),
        ("finetune {sparse} --set model.distance_slope=0.5", "distance_slope: there"),
        ("evaluate --run {tuned}", "--tokens DIR"),
        ("evaluate --run {tuned} --tokens {tokens} --corpus c", "leave --corpus out"),
        ("evaluate --run {tuned} --tokens {tokens} --beams 2", "leave --beams out"),
        ("evaluate --run {tuned} --task {topics} --beams 0", "beams"),
    ],
)
def test_bad_arguments_are_one_sentence(artifacts, tuned, tmp_path, capsys, words, says):
    run = f"--out {tmp_path}/run --run {artifacts}"
    given = {
        "run": run,
        "dense": f"{run}/mt5 --task {TOPICS}",
        "sparse": f"{run}/switch --task {TOPICS}",
        "tokens": artifacts / "tokens",
        "settings": " ".join(SETTINGS),
    }
    line = words.format(**given, tuned=tuned, topics=TOPICS)
    assert says in refused(capsys, *line.split())
    assert not (tmp_path / "run").exists()


@slow
def test_a_finished_run_is_not_said_to_have_looked_into_a_corpus(artifacts, tuned, capsys):
    assert finetune(artifacts / "switch", tuned) == 0
    words = "--run", artifacts / "switch", "--task", TOPICS, QUESTIONS, "--out", tuned
    more = "--corpus", artifacts / "corpus", "--set", *SETTINGS
    said = refused(capsys, "finetune", *words, *more)
    assert "was made from other inputs (corpus: new)" in said
