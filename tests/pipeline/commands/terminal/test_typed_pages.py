"""README's way for one's own text; `make own-text` runs it, as it is written there."""

import own_text
import pytest

from pipeline import command_line
from pipeline.arguments import Pretrain, Tokenize
from pipeline.recipe import named

COMMANDS = own_text.commands()


def test_the_way_leads_from_text_to_a_report():
    stages = ["clean", "vocabulary", "tokenize", "pretrain", "pretrain", "report"]
    assert [words[:2] for words in COMMANDS] == [["mswitch", stage] for stage in stages]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[1])
def test_every_command_is_understood(words):
    command = command_line.parse(command_line.merge_repeated(words[1:]))
    if isinstance(command, Pretrain):
        assert named.get(command.recipe).model.vocabulary_rows == 0
    if isinstance(command, Tokenize):
        assert command.corpus == ("corpus",)
