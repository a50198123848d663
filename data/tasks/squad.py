"""Reads question answering in the format of SQuAD, which MLQA and XQuAD share.

A file holds articles of paragraphs, each with a context and questions. Here each question is a row
of `id`, `title`, `context`, `question` and `answers`: its texts in order without repeats. A
question without an answer (SQuAD 2.0) has an empty list.

Source: Rajpurkar et al. 2016, arXiv 1606.05250; Lewis et al. 2020, arXiv 1910.07475.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.stores.json_files import read_json


@dataclass(frozen=True)
class _Answer:
    text: str


@dataclass(frozen=True)
class _Question:
    id: str
    question: str
    answers: list[_Answer] = field(default_factory=list)


@dataclass(frozen=True)
class _Paragraph:
    context: str
    qas: list[_Question]


@dataclass(frozen=True)
class _Article:
    paragraphs: list[_Paragraph]
    title: str = ""


@dataclass(frozen=True)
class _Squad:
    data: list[_Article]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yields one row per question.

    Raises:
        DataError: if the file has another format.
    """
    for article in read_json(path, _Squad).data:
        for paragraph in article.paragraphs:
            for question in paragraph.qas:
                yield {
                    "id": question.id,
                    "title": article.title,
                    "context": paragraph.context,
                    "question": question.question,
                    "answers": list(dict.fromkeys(answer.text for answer in question.answers)),
                }
