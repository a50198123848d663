"""Reports on four languages, from a pair of sides made by hand."""

import dataclasses

import numpy as np
import pyarrow as pa

from data.corpus_manifest import CorpusManifest, LanguagePages
from eval import losses as language_loss
from eval import sides
from eval.funnel import funnel
from eval.gains import Comparison, TrainingText
from eval.groups import Group
from eval.report import contents
from eval.sides import Points, Side, common_unit

CODES = ("sw", "en", "ru", "ru-Latn")
PAGES = 10
STEPS = (0, 100, 200)
FUNNEL = funnel(CorpusManifest(languages={"sw": LanguagePages(kept=3)}), {})


WRITTEN = contents.Written(
    date="2026-11-26",
    code_version="0.1.0",
    commit="c0ffee",
    baseline=("runs/mt5",),
    candidate=("runs/switch",),
    students=(),
    also=(),
    corpus=None,
    tokens="tokens",
)


def losses(levels, seed=0, tokens=100, text_bytes=300):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "language": code,
            "url": f"https://example.org/{page}",
            "loss_nats": (level + 0.01 * rng.normal()) * 100,
            "target_tokens": tokens,
            "text_bytes": text_bytes,
        }
        for code, level in zip(CODES, levels, strict=True)
        for page in range(PAGES)
    ]
    return language_loss.from_table(pa.Table.from_pylist(rows), "here")


def side(name, final, seed, points=Points.STEADY, **counts):
    pages = [losses(levels, seed, **counts) for levels in ([9.0] * 4, [4.0] * 4, final)]
    return Side(
        name=name,
        seeds=(0,),
        steps=STEPS,
        points=points,
        pages=(tuple(pages),),
    )


def group(one, **changes):
    """Returns a side with facts about its runs."""
    return Group(side=one, facts=facts(one.name), directories=(f"runs/{one.name}",), **changes)


def facts(name, **changes):
    known = dict(
        name=name,
        recipe="tiny|er",
        seeds=(0, 1),
        parameters=10,
        flops_per_sequence=None,
        experts=None,
        devices="1 × cpu",
        steps=200,
        step_seconds=0.1,
        step_seconds_spread=1.1,
        tokens_per_second=1e4,
        dropped_share=None,
        training_loss_nats=3.0,
        held_out_loss_nats=(3.0, 3.1),
        commits=("c0ffee",),
    )
    return sides.RunFacts(**known | changes)


def make(final=(2.0, 2.5, 3.2, 1.0), runs=(1, 1), **changes):
    """Returns a report on two sides, of so many runs, which are equal within a side."""
    both = side("mT5", (3.0, 3.0, 3.0, 3.0), 1), side("Switch", final, 2)
    pairs = zip(both, runs, strict=True)
    return made_of(*(repeated(one, n) for one, n in pairs), **changes)


def repeated(one, runs):
    """Returns the side with so many runs, which are equal."""
    return dataclasses.replace(one, seeds=tuple(range(runs)), pages=one.pages * runs)


def imported(one):
    """Returns the same side as an imported model: one evaluation, of unknown steps."""
    return dataclasses.replace(one, steps=(0,), pages=tuple(run[-1:] for run in one.pages))


def compare(baseline, candidate, text=None):
    unit = common_unit(baseline, candidate)
    return Comparison(baseline=baseline, candidate=candidate, unit=unit, text=text or {})


def made_of(baseline, *others, differences=(), **changes):
    """Returns a report on a baseline, a candidate and further models: sides, or groups of them."""
    groups = [one if isinstance(one, Group) else group(one) for one in (baseline, *others)]
    groups[1] = dataclasses.replace(groups[1], differences=differences)
    first, *rest = [one.side for one in groups]
    text = {"sw": TrainingText(tokens=5.0)}
    known = {
        "comparisons": tuple(compare(first, one, {} if n else text) for n, one in enumerate(rest)),
        "training_tokens_are": "distinct training tokens",
        "written": WRITTEN,
    }
    return contents.ReportContents(groups=tuple(groups), **known | changes)
