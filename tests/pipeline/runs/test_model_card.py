"""The card of a model shows words of other people's runs as words."""

from markdown_reader import HOSTILE, markup_of
from synthetic_runs import recipe_in_json

from pipeline.runs.directory import RunRecord
from pipeline.runs.model_card import model_card

CONFIG = {"model_type": "mt5", "architectures": ["MT5ForConditionalGeneration"]}


def test_words_of_others_are_no_markup_of_the_card(tmp_path):
    def written(word):
        recipe = recipe_in_json(4, name=word, mixture=word, finetuning={"tasks": [word, word]})
        recipe["model"]["switch"][word] = word
        about = RunRecord(recipe=recipe, inputs={word: word}, commits=(word,))
        return model_card(tmp_path, about, 7, CONFIG, "odc-by")

    assert [*markup_of(written(HOSTILE))] == [*markup_of(written("word"))]
