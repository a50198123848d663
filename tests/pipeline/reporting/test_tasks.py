"""Both sides on tasks have the same tasks, modes, splits and examples; otherwise one sentence."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from synthetic_tasks import STEP, write_finetuned

from data.errors import DataError
from pipeline.errors import ArtifactError
from pipeline.reporting.tasks import task_comparisons, task_differences
from pipeline.runs.tasks import read_finetuned

STARTS = ["dense"], ["switch"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directories of fine-tuned runs by name; "dense" and "sparse" compare."""
    root = tmp_path_factory.mktemp("finetuned")
    of = {
        "dense": {"experts": None},
        "sparse": {"experts": 8},
        "twin": {"experts": 8},
        "sw": {"experts": 8, "languages": ("sw",)},
        "alone": {"experts": 8, "languages": ("sw",), "codes": ("sw",)},
        "many": {"experts": 8, "languages": ("sw", "yo", "swa", "en", "de")},
        "dense many": {"experts": None, "languages": ("fr", "es", "ru", "it")},
        "other many": {"experts": 8, "seed": 1, "languages": ("fr", "es", "ru", "it")},
        "shorter": {"experts": 8, "sentences": 29},
        "early": {"experts": 8, "split": "development"},
    }
    return {name: write_finetuned(root / name, **one) for name, one in of.items()}


def comparisons(baseline, candidate, starts):
    return task_comparisons(
        [*map(read_finetuned, baseline)], [*map(read_finetuned, candidate)], starts
    )


def differences(baseline, candidate, *, allowed):
    sides = ([*map(read_finetuned, runs)] for runs in (baseline, candidate))
    return task_differences(*sides, allowed=allowed)


@pytest.mark.parametrize(
    "baseline, candidate, message",
    [
        (
            ["dense"],
            ["dense"],
            "names .*dense, which was fine-tuned from none of the runs of --cand",
        ),
        (["dense"], ["sw"], "The candidate has no run on topics trained on all languages"),
        (["dense"], ["sparse", "sw"], "The baseline has no run on topics .* Swahili only"),
        (["dense"], ["sparse", "twin"], "have one seed and were trained on the same languages"),
        (["dense"], ["early"], "test against development"),
        (["dense many"], ["many"], "different languages of topics .es, fr, it, ru against de, en,"),
        (["dense many"], ["many", "other many"], "seeds of one side need the same"),
    ],
)
def test_sides_that_do_not_compare_are_one_sentence(runs, baseline, candidate, message):
    sides = ([runs[name] for name in side] for side in (baseline, candidate))
    with pytest.raises(ArtifactError, match=message):
        comparisons(*sides, STARTS)


def test_other_examples_are_one_sentence(runs):
    with pytest.raises(DataError, match="the same examples"):
        comparisons([runs["dense"]], [runs["shorter"]], STARTS)


def test_other_right_answers_under_the_same_names_are_one_sentence(runs, tmp_path):
    """Without an identity in the data, names are numbers of rows: a corrected file has the same."""
    corrected = tmp_path / "corrected"
    shutil.copytree(runs["sparse"], corrected)
    (path,) = corrected.glob(f"tasks/topics/test-step={STEP}.parquet")
    table = pq.read_table(path)
    at = table.schema.get_field_index("answers")
    answers = table["answers"].to_pylist()
    answers[0] = ["another"]
    pq.write_table(table.set_column(at, table.field(at), [answers]), path)
    with pytest.raises(DataError, match="other right answers for examples of one name"):
        comparisons([runs["dense"]], [corrected], STARTS)


def test_other_settings_of_fine_tuning_need_permission(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs["sparse"], other)
    about = json.loads((other / "recipe.json").read_text())
    about["recipe"]["rows"] *= 4
    about["inputs"]["task topics"] = "sha"
    (other / "recipe.json").write_text(json.dumps(about))
    assert differences([runs["dense"]], [runs["sparse"]], allowed=False) == ()
    with pytest.raises(
        ArtifactError, match=r"different settings \(rows \(topics, all languages\): 8, 32"
    ):
        differences([runs["dense"]], [other], allowed=False)
    rows, digest = differences([runs["dense"]], [runs["sparse"], other], allowed=True)
    assert (rows.baseline, rows.candidate) == (("8",), ("8", "32"))
    assert digest.field == "digest of the task topics (topics, all languages)"


def test_each_language_alone_has_examples_of_its_own(runs, tmp_path):
    """The digest of a task and the longest answer follow from the language."""
    both = []
    for name in ("alone", "yo alone"):
        code = "sw" if name == "alone" else "yo"
        run = write_finetuned(tmp_path / name, experts=8, languages=(code,), codes=(code,))
        about = json.loads((run / "recipe.json").read_text())
        about["inputs"]["task topics"] = name
        about["recipe"]["finetuning"]["targets"] = len(name)
        (run / "recipe.json").write_text(json.dumps(about))
        both.append(run)
    assert differences(both, both, allowed=False) == ()


def test_the_mode_is_the_training_languages(runs):
    modes = {name: read_finetuned(directory).mode for name, directory in runs.items()}
    assert modes["sparse"] == "all languages"
    assert modes["sw"] == "Swahili only"
    assert modes["alone"] == "each language alone"
    assert modes["many"] == "4 languages only"  # swa is an alias of sw


def test_predictions_are_those_of_the_best_step(runs):
    (task,) = comparisons([runs["dense"]], [runs["sparse"]], STARTS)
    assert (task.name, task.split) == ("topics", "test")
    (mode,) = task.modes
    assert mode.examples == 4 * 30  # the last step, which is not the best, has five


def test_a_run_without_predictions_is_one_sentence(tmp_path):
    run = write_finetuned(tmp_path / "run", experts=None)
    (run / "tasks/topics/test-step=200.parquet").unlink()
    with pytest.raises(ArtifactError, match="has none of the best step"):
        read_finetuned(run)
