"""Shipped descriptions on rows of ours, in the form in which each task's data is published."""

import json
from pathlib import Path

import pytest

from data.tasks.description import SHIPPED, find_task
from data.tasks.examples import read_task


def table(*rows: str) -> str:
    return "".join(row.replace("|", "\t") + "\n" for row in rows)


def squad(identity: str, context: str, question: str, *answers: str) -> str:
    found = [{"text": answer, "answer_start": context.index(answer)} for answer in answers]
    asked = {"id": identity, "question": question, "answers": found}
    paragraph = {"context": context, "qas": [asked]}
    return json.dumps({"version": "1.1", "data": [{"title": "A", "paragraphs": [paragraph]}]})


QUESTION = squad("q1", "Daudi anaishi Dodoma.", "Daudi anaishi wapi?", "Dodoma")
PUBLISHED = {
    "sib200_tsv": (
        {
            f"swh_Latn/{split}.tsv": table("index_id|category|text", "4|geography|Mto unapita.")
            for split in ("train", "dev", "test")
        },
        ("sw", "topic: Mto unapita.", "geography", "4"),
    ),
    "xnli": (
        {
            f"xnli.{split}.tsv": table(
                "language|gold_label|sentence1|sentence2|promptID|pairID|genre|match",
                'sw|neutral|Mvua "kubwa" inanyesha.|Watu wamelala.|1|7|facetoface|True',
                "fr|neutral|Il pleut.|Les gens dorment.|1|7|facetoface|True",
            )
            for split in ("dev", "test")
        },
        ("sw", 'xnli: premise: Mvua "kubwa" inanyesha. hypothesis: Watu wamelala.', "neutral", "7"),
    ),
    "paws_x": (
        {
            f"x-final/{code}/{name}.tsv": table("id|sentence1|sentence2|label", f"3|{a}|{b}|1")
            for code, name, a, b in (
                ("en", "train", "It rains.", "Rain falls."),
                ("de", "translated_train", "Es regnet.", "Regen fällt."),
                ("de", "dev_2k", "Es regnet.", "Regen fällt."),
                ("de", "test_2k", "Es regnet.", "Regen fällt."),
            )
        },
        ("de", "paws: sentence1: Es regnet. sentence2: Regen fällt.", "1", "3"),
    ),
    "xcopa": (
        {
            f"sw/{split}.sw.jsonl": json.dumps(
                {
                    "premise": "Mvua ilinyesha.", "choice1": "Njia ilikauka.",
                    "choice2": "Njia ililowa.", "question": "effect", "label": 1, "idx": 4,
                    "changed": False,
                }
            )
            for split in ("val", "test")
        },
        (
            "sw",
            "xcopa: effect of: Mvua ilinyesha. choice1: Njia ilikauka. choice2: Njia ililowa.",
            "1",
            "4",
        ),
    ),
    "belebele": (
        {
            "swh_Latn.jsonl": json.dumps(
                {
                    "link": "https://en.wikibooks.org/wiki/A", "question_number": 2,
                    "flores_passage": "Mvua inanyesha.", "question": "Nini?", "mc_answer1": "a",
                    "mc_answer2": "b", "mc_answer3": "c", "mc_answer4": "d",
                    "correct_answer_num": "3", "dialect": "swh_Latn", "ds": "2023-05-03",
                }
            )
        },
        (
            "sw",
            "belebele: Nini? 1: a 2: b 3: c 4: d passage: Mvua inanyesha.",
            "3",
            "https://en.wikibooks.org/wiki/A 2",
        ),
    ),
    "xquad": (
        {"xquad.sw.json": QUESTION},
        ("sw", "question: Daudi anaishi wapi? context: Daudi anaishi Dodoma.", "Dodoma", "q1"),
    ),
    "mlqa": (
        {
            f"{split}/{split}-context-{context}-question-{question}.json": QUESTION
            for split in ("dev", "test")
            for context, question in (("sw", "sw"), ("sw", "en"))
        },
        ("sw", "question: Daudi anaishi wapi? context: Daudi anaishi Dodoma.", "Dodoma", "q1"),
    ),
    "tydi_qa": (
        {
            f"tydiqa-goldp-v1.1-{split}/tydiqa.goldp.sw.{split}.json": QUESTION
            for split in ("train", "dev")
        },
        ("sw", "question: Daudi anaishi wapi? context: Daudi anaishi Dodoma.", "Dodoma", None),
    ),
    "masakhanews": (
        {
            f"swa/{split}.tsv": table(
                "category|headline|text|url", "sports|Simba yashinda|Timu ilicheza.|https://a.example/"
            )
            for split in ("train", "dev", "test")
        },
        ("sw", "news topic: Simba yashinda Timu ilicheza.", "sports", None),
    ),
    "afrisenti": (
        {
            f"swa/{split}.tsv": table("ID|tweet|label", "sw_1|Nimefurahi sana|positive")
            for split in ("train", "dev", "test")
        },
        ("sw", "sentiment: Nimefurahi sana", "positive", None),
    ),
    "translation": (
        {
            f"{split}/sw.tsv": table("id|text|english", "1|Mvua inanyesha.|It rains.")
            for split in ("train", "dev", "test")
        },
        ("sw", "translate to English: Mvua inanyesha.", "It rains.", "1"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_task_reads_its_published_form(name, tmp_path):
    files, (language, text, target, identity) = PUBLISHED[name]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="utf-8")
    directory = tmp_path / "x-final" if name == "paws_x" else tmp_path
    data = read_task(f"{name}={directory}")
    tested = next(example for example in data.test if example.language == language)
    assert (tested.input, tested.target) == (text, target)
    assert identity is None or tested.identity == identity
    assert data.set_aside == {}
    splits = {"train": data.train, "development": data.development, "test": data.test}
    assert {split for split, examples in splits.items() if examples} == set(data.task.splits)


def test_published_scores_of_questions_are_by_these_rules():
    """XTREME's evaluation (arXiv 2003.11080) has SQuAD's rules for all but MLQA."""
    metrics = {name: find_task(name + "=.")[0].metric for name in ("mlqa", "xquad", "tydi_qa")}
    assert metrics == {"mlqa": "f1", "xquad": "squad_f1", "tydi_qa": "squad_f1"}


def test_every_shipped_task_has_such_rows():
    shipped = {path.stem for path in Path(SHIPPED).glob("*.yaml")}
    assert shipped - {"sib200"} == set(PUBLISHED)  # sib200 has a form of ours: docs/tasks.md
