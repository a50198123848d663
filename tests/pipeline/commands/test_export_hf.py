"""The card of a model shows words of other people's runs as words."""

from markdown_reader import HOSTILE, markup_of

from pipeline.commands.export_hf import model_card
from pipeline.runs.directory import RunRecord

CONFIG = {"model_type": "mt5", "architectures": ["MT5ForConditionalGeneration"]}


def test_words_of_others_are_no_markup_of_the_card(tmp_path):
    def written(word):
        switch = {"experts": 4, word: word}
        recipe = {"name": word, "seed": 0, "steps": 7, "mixture": word}
        recipe |= {"model": {"switch": switch, "heads": word}}
        recipe |= {"finetuning": {"tasks": [word, word]}}
        about = RunRecord(recipe=recipe, inputs={word: word}, commits=(word,))
        return model_card(tmp_path, about, 7, CONFIG, "odc-by")

    assert [*markup_of(written(HOSTILE))] == [*markup_of(written("word"))]
