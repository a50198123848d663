"""Recomputes the tasks of report.json from predictions, in pandas, without mswitch's code.

Scores, means, gains, 95% intervals, p-values and counts. Scores are functions of sums over
examples, whose derivatives are taken by a step in the imaginary direction: exact to rounding.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from recompute_metrics import METRICS, Function
from recompute_statistics import adjusted, freedom_of_sum, put_together, same
from scipy import stats

Rows = pd.DataFrame  # predictions of one run, with the columns `statistics` and `language`
ALONE = "each language alone"


def influences(rows: np.ndarray, score: Function) -> tuple[float, np.ndarray]:
    """Returns a score, and how much each example adds to it to first order."""
    sums, step = rows.sum(axis=0), 1e-30
    slopes = [score(sums + step * 1j * one).imag / step for one in np.eye(len(sums))]
    return float(np.real(score(sums.astype(complex)))), rows @ np.array(slopes)


class Part:
    """One language of a side: its score, and each run's influences, deviations included."""

    def __init__(self, runs: list[Rows], score: Function):
        each = [influences(np.stack(run.statistics.to_list()), score) for run in runs]
        scores = np.array([one[0] for one in each])
        self.value, count = scores.mean(), len(runs[0])
        deviations = (scores - scores.mean())[:, None] / count
        self.influences = np.stack([one[1] for one in each]) + deviations
        self.identity = runs[0].identity.to_numpy()


def standard_error(sides: list[list[Part]]) -> tuple[float, float]:
    """Returns standard error and degrees of freedom of the mean over languages of signed sides."""
    languages, counts = len(sides[0]), [len(part.identity) for part in sides[0]]
    frame = pd.DataFrame({"identity": np.concatenate([part.identity for part in sides[0]])})
    language = np.repeat(np.arange(languages), counts)
    size = np.repeat(counts, counts)
    factor = np.sqrt((size - 1) / size) * size / (size - 1) / languages

    frame["group"] = groups(frame.identity, language)

    def squares(values: np.ndarray) -> pd.DataFrame:
        sums = frame.assign(v=values).groupby(["group", "identity"]).v.sum() ** 2
        return sums.groupby("group").agg(["sum", "count"])

    tables = [np.concatenate([part.influences for part in side], axis=1) for side in sides]
    of_pages = squares(sum(table.mean(axis=0) for table in tables) * factor)
    of_runs = []
    for table in tables:
        if (runs := len(table)) > 1:
            centred = table - table.mean(axis=0)
            effects = pd.DataFrame(centred.T).groupby(language).transform("sum").to_numpy().T
            each = (squares(row * factor)["sum"].sum() for row in centred - effects / size)
            rest = sum(each) / (runs - 1)
            between = (centred.sum(axis=1) / languages).var(ddof=1)
            if (variance := max(between - rest, 0.0) / runs) > 0:
                of_runs.append((variance, runs - 1))
    free = freedom_of_sum([(v, n - 1) for v, n in of_pages.to_numpy().tolist() if n > 1])
    return put_together(float(of_pages["sum"].sum()), free, of_runs)


def groups(identity: pd.Series, language: np.ndarray) -> list[int]:
    """Returns each row's group: languages that share sentences, directly or not, are one."""
    found: list[tuple[set, set]] = []
    for code in np.unique(language):
        names, codes = set(identity[language == code]), {code}
        apart = [one for one in found if not one[0] & names]
        for one in found:
            if one[0] & names:
                names, codes = names | one[0], codes | one[1]
        found = [*apart, (names, codes)]
    number = {code: at for at, (_, codes) in enumerate(found) for code in codes}
    return [number[code] for code in language]


def compare_estimate(name: str, shown: dict, value: float, sides: list[list[Part]]) -> float | None:
    """Compares a value with its interval; returns the p-value of a true value of 0.

    If all examples of a gain are alike it has no interval, and a sign test's p-value.
    """
    same(name, shown["value"], value)
    if min(len(part.identity) for part in sides[0]) < 2:
        same(f"{name} low", shown["low"], None)
        return None
    size, free = standard_error(sides)
    examples = np.unique(np.concatenate([part.identity for part in sides[0]]).astype(str)).size
    if len(sides) == 2 and not size and value:
        same(f"{name} low", shown["low"], None)
        return 2.0 ** (1 - examples)
    half = stats.t.isf(0.025, free) * size
    for end, found in (("low", value - half), ("high", value + half)):
        same(f"{name} {end}", shown[end], found)
    p_value = float(2 * stats.t.sf(abs(value) / size, free)) if size else 1.0
    return max(p_value, 2.0 ** (1 - examples))


def compare_three(name: str, shown: dict, parts: list[list[Part]], sign: float) -> float | None:
    """Compares both sides' numbers and the gain of one or of several languages together."""
    values = [np.mean([part.value for part in side]) for side in parts]
    for which, side, value in zip(("baseline", "candidate"), parts, values, strict=True):
        compare_estimate(f"{name} {which}", shown[which], value, [side])
    signed = []
    for factor, side in zip((-sign, sign), parts, strict=True):
        turned = [object.__new__(Part) for _ in side]
        for one, part in zip(turned, side, strict=True):
            one.influences, one.identity = factor * part.influences, part.identity
        signed.append(turned)
    gain = sign * (values[1] - values[0])
    gain = 0.0 if abs(gain) < 1e-9 else gain  # a tie, to rounding
    return compare_estimate(f"{name} gain", shown["gain"], gain, signed)


def compare_scores(name: str, shown: dict, sides: list[list[Rows]]) -> None:
    """Compares scores by one metric: languages, means, p-values and counts."""
    statistics, score = METRICS[shown["metric"]]
    sign = -1.0 if shown["metric"] == "nats per sentence" else 1.0
    sides = [
        [run.assign(statistics=[statistics(row) for _, row in run.iterrows()]) for run in side]
        for side in sides
    ]
    codes = sorted(set(sides[0][0].language))
    parts = {
        code: [Part([run[run.language == code] for run in side], score) for side in sides]
        for code in codes
    }
    if sorted(shown["languages"]) != codes:
        raise SystemExit(f"{name}: the report shows {list(shown['languages'])}, found {codes}")
    p_values = {
        code: compare_three(f"{name} {code}", shown["languages"][code], [[p] for p in both], sign)
        for code, both in parts.items()
    }
    counted = [code for code in codes if not code.endswith("-Latn")]
    tested = adjusted(pd.Series({c: p_values[c] for c in counted}, dtype=float).dropna())
    for code, row in shown["languages"].items():
        same(f"{name} {code} p-value", row["gain"]["p_value"], tested.get(code))
    gains = pd.Series({c: shown["languages"][c]["gain"]["value"] for c in counted}, dtype=float)
    noise = gains[tested.index[tested < 0.05]] if len(tested) else gains[:0]
    for word, factor in (("better", 1), ("worse", -1)):
        same(f"{name} {word}", shown[f"languages_{word}"], int((factor * gains > 0).sum()))
        found = int((factor * noise > 0).sum())
        same(f"{name} {word} beyond noise", shown[f"languages_{word}_significantly"], found)
    several = [both for c in counted if len((both := parts[c])[0].identity) > 1]
    if shown["mean"] is not None or several:
        together = [[both[at] for both in several] for at in (0, 1)]
        p_value = compare_three(f"{name} mean", shown["mean"], together, sign)
        same(f"{name} mean p-value", shown["mean"]["gain"]["p_value"], p_value)


def predictions(run: Path, task: str, split: str) -> Rows:
    """Returns the predictions of a run's best step."""
    return pd.read_parquet(run / f"tasks/{task}/{split}-step={best(run)}.parquet")


def modes_of(runs: list[Path], task: str, split: str) -> dict[str, list[Rows]]:
    """Returns the predictions of each mode, one table per seed, ordered by language, identity."""
    found: dict[tuple[str, int], list[Rows]] = {}
    for run in runs:
        recipe = json.loads((run / "recipe.json").read_text())["recipe"]
        if task not in recipe["finetuning"]["tasks"]:
            continue
        languages, rows = sorted(recipe["finetuning"]["languages"]), predictions(run, task, split)
        mode = ",".join(languages)
        if languages == sorted(set(rows.language)) and len(languages) == 1:
            mode = ALONE
        found.setdefault((mode, recipe["seed"]), []).append(rows)
    modes: dict[str, list[Rows]] = {}
    for (mode, _), parts in sorted(found.items()):
        rows = pd.concat(parts).sort_values(["language", "identity"], ignore_index=True)
        modes.setdefault(mode, []).append(rows)
    return modes


def compare_tasks(report: dict, baseline: list[Path], candidate: list[Path]) -> None:
    """Compares every task of a report with the predictions of fine-tuned runs."""
    for task in report["tasks"]:
        sides = [modes_of(runs, task["name"], task["split"]) for runs in (baseline, candidate)]
        modes = {
            one["name"] if one["name"] == ALONE else ",".join(one["trained_on"]): one
            for one in task["modes"]
        }
        if any(set(side) != set(modes) for side in sides):
            raise SystemExit(f"{task['name']}: the report has the modes {list(modes)}")
        for mode, shown in modes.items():
            both = [side[mode] for side in sides]
            marked = overlapping(task["name"], shown, [run for side in both for run in side])
            left = [[run[~marked] for run in side] for side in both]
            for one in shown["scores"]:
                name = f"{task['name']} {shown['name']} {one['metric']}"
                compare_scores(name, one, left if one["without_overlaps"] else both)
            if any(one["without_overlaps"] for one in shown["scores"]) != (
                marked.any() and not marked.all()
            ):
                raise SystemExit(
                    f"{task['name']}: scores without overlaps are missing or in excess"
                )
        compare_experts(task, candidate)
        run = next(iter(sides[0].values()))[0]
        if run.likeliest_label.notna().all():
            shares = run.groupby("language").target.agg(
                lambda targets: targets.value_counts(normalize=True).max()
            )
            same(f"{task['name']} largest class", task["largest_class"], 100 * shares.mean())
            same(f"{task['name']} random label", task["random_label"], 100 / len(run.label_nats[0]))
        print(f"{task['name']}: scores and gains of {len(modes)} modes equal to 1e-9")


def overlapping(name: str, shown: dict, runs: list[Rows]) -> np.ndarray:
    """Compares the numbers of overlaps; returns which examples are left out."""
    compared = np.any([run.overlaps.notna() for run in runs], axis=0)
    marked = np.any([run.overlaps == True for run in runs], axis=0)  # noqa: E712
    if not compared.all():
        same(f"{name} overlapping", shown["overlapping"], None)
        return np.zeros(len(marked), bool)
    same(f"{name} overlapping", shown["overlapping"], int(marked.sum()))
    for code, found in pd.Series(marked).groupby(runs[0].language).sum().items():
        same(f"{name} overlapping {code}", shown["overlapping_by_language"][code], int(found))
    return marked


def compare_experts(task: dict, runs: list[Path]) -> None:
    """Compares the shares of experts with the routing of one run: first mode, smallest seed."""
    modes = [",".join(one["trained_on"]) for one in task["modes"] if one["name"] != ALONE]
    found: dict[tuple[int, int], Path] = {}
    for run in runs:
        recipe = json.loads((run / "recipe.json").read_text())["recipe"]
        mode, step = ",".join(sorted(recipe["finetuning"]["languages"])), best(run)
        path = run / f"tasks/{task['name']}/routing-{task['split']}-step={step}.parquet"
        if mode in modes and path.exists():
            found[modes.index(mode), recipe["seed"]] = path
    if not found or task["experts"] is None:
        if found or task["experts"] is not None:
            raise SystemExit(f"{task['name']}: expert use is missing or in excess")
        return
    rows = pd.read_parquet(found[min(found)]).set_index(["stack", "layer", "language"])
    for layer in task["experts"]["layers"]:
        for code, shown in layer["languages"].items():
            row = rows.loc[(layer["stack"], layer["layer"], code)]
            name = f"{task['name']} {layer['stack']} {layer['layer']} {code}"
            same(f"{name} tokens", shown["tokens"], int(row.tokens))
            shares = np.array(row.load) / row.load.sum()
            for expert, share in enumerate(shares):
                same(f"{name} expert {expert}", shown["load_share"][expert], round(share, 5))
    shown = sum(len(layer["languages"]) for layer in task["experts"]["layers"])
    same(f"{task['name']} rows of experts", shown, len(rows))
    print(f"{task['name']}: shares of experts equal")


def best(run: Path) -> int:
    """Returns the best step of a fine-tuned run."""
    return json.loads((run / "best.json").read_text())["step"]


def compare_sentences(report: dict, baseline: list[Path], candidate: list[Path]) -> None:
    """Compares the nats per sentence of every parallel text of a report."""
    for text in report["sentences"]:
        sides = [[sentences(run, text["name"]) for run in runs] for runs in (baseline, candidate)]
        cut = np.any([run.cut for side in sides for run in side], axis=0)
        same(f"{text['name']} cut", text["cut"], int(cut.sum()))
        left = [[run[~cut] for run in side] for side in sides]
        compare_scores(text["name"], text["scores"], left)
        print(f"{text['name']}: nats per sentence equal to 1e-9")


def sentences(run: Path, name: str) -> Rows:
    """Returns the losses of the last step, ordered by language and identity."""
    files = (run / "tasks" / name).glob("sentences-step=*.parquet")
    last = max(files, key=lambda path: int(path.stem.split("=")[1]))
    rows = pd.read_parquet(last)
    return rows.sort_values(["language", "identity"], ignore_index=True)
