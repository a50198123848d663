"""The commands of the documents, which `make typed-pages` types as they are written there."""

import re
import shlex
from pathlib import Path

import pytest
import typed_pages
from typed_pages import PARTS, Part, commands, reason_not_typed

from pipeline import cli
from pipeline.commands.pretrain import Pretrain
from pipeline.recipe import named

ROOT = Path(__file__).parents[4]
TYPED = {
    name: [one for one in commands(part) if not reason_not_typed(one)]
    for name, part in PARTS.items()
}


def test_the_way_of_own_text_leads_to_a_model_and_to_a_report():
    stages = ["clean", "vocabulary", "tokenize", "pretrain", "fill", "export-hf"]
    stages += ["pretrain", "report"]
    assert [shlex.split(one)[1] for one in TYPED["own-text"]] == stages
    for words in map(shlex.split, TYPED["own-text"]):
        if words[1] == "pretrain":
            command = cli.command_of(words[1:])
            assert isinstance(command, Pretrain)
            assert named.get(command.recipe).model.vocabulary_rows == 0


def test_the_readme_has_the_same_way_with_a_size_of_its_own():
    numbers = re.compile("--size (SIZE --sample-characters CHARACTERS|2048)")
    of_readme = commands(Part("README.md", lambda _: None, "## Your own text"))
    assert [numbers.sub("", one) for one in of_readme] == [
        numbers.sub("", one) for one in TYPED["own-text"]
    ]


@pytest.mark.parametrize("page", sorted(typed_pages.PAGES))
def test_every_command_of_a_page_is_typed_or_has_a_reason(page):
    every = [one for one in commands(Part(page, lambda _: None)) if not reason_not_typed(one)]
    typed = [one for name, part in PARTS.items() if part.page == page for one in TYPED[name]]
    assert typed
    assert [one for one in every if one not in typed] == []


@pytest.mark.parametrize("page", sorted(typed_pages.PAGES))
def test_no_line_that_looks_like_a_command_is_passed_over(page):
    text = re.sub(r"(?ms)^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"))
    starts = re.findall(r"(?m)(?<!\\\n)^    (mswitch \w+|hf \w+|make \w+|python |curl )", text)
    assert len(starts) <= len(commands(Part(page, lambda _: None)))


@pytest.mark.parametrize("name", PARTS)
def test_other_words_stand_in_the_part_that_they_are_for(name):
    text = "\n".join(TYPED[name])
    assert [words for words in PARTS[name].instead if words not in text] == []
    unused = [command for command in PARTS[name].added if command.split()[-1] not in text]
    assert unused == []


@pytest.mark.parametrize(("name", "command"), [(n, c) for n, some in TYPED.items() for c in some])
def test_every_command_is_understood(name, command):
    if name == "own-text":
        command = command.replace("SIZE", "2048").replace("CHARACTERS", "9")
    cli.command_of(shlex.split(command)[1:])
