"""The text behind a report's runs: their tokens and the corpus, which must be the runs' own.

A run's recipe.json holds the digest of the tokens that it read, and the tokens' manifest those of
their corpora. So a report never shows one corpus's funnel, training tokens or shared lines beside
runs that were trained on another.
"""

from collections.abc import Sequence
from statistics import fmean

from eval.language_gain import TrainingText
from pipeline.artifacts import claims
from pipeline.errors import ArtifactError
from pipeline.runs.finished import FinishedRun


def check_text(corpus: str | None, tokens: str | None, runs: Sequence[FinishedRun]) -> None:
    """Checks that tokens are what a side's runs were trained on, and the corpus what is in them.

    Args:
        corpus: directory that `mswitch clean` wrote, or None.
        tokens: directory that `mswitch tokenize` wrote, or None.
        runs: of the candidate; imported ones read no tokens here and say nothing.

    Raises:
        ArtifactError: they are not, or the tokens that would tell were not named.
    """
    if tokens is not None:
        _check_tokens(tokens, runs)
    if corpus is not None:
        _check_corpus(corpus, tokens)


def _check_tokens(tokens: str, runs: Sequence[FinishedRun]) -> None:
    read = {run.about.get("inputs", {}).get("tokens") for run in runs} - {None}
    if read and claims.digest_of_manifest(tokens) not in read:
        raise ArtifactError(
            f"{tokens} are not the tokens that {runs[0].directory} was trained on; name those with "
            "--tokens, or leave --tokens and --corpus away."
        )


def _check_corpus(corpus: str, tokens: str | None) -> None:
    if tokens is None:
        raise ArtifactError(
            f"Whether {corpus} is the corpus of these runs is told by the tokens that were made of "
            "it; name them with --tokens."
        )
    inputs = claims.read_manifest(tokens, "tokenize")["inputs"]
    corpora = {digest for name, digest in inputs.items() if name.startswith("corpus_")}
    if corpora != {claims.digest_of_manifest(corpus)}:
        raise ArtifactError(
            f"{tokens} were made of {len(corpora)} "
            f"{'corpus' if len(corpora) == 1 else 'corpora'}, and {corpus} is not the whole of "
            "that; name the one corpus that they were made of, or leave --corpus away."
        )


def training_text(
    tokens: str | None, runs: Sequence[FinishedRun]
) -> tuple[dict[str, TrainingText], str]:
    """Returns each language's training text, and what its `tokens` count.

    Args:
        tokens: directory that `mswitch tokenize` wrote; where None, what the runs saw is counted.
        runs: of the candidate.
    """
    seen = {
        code: fmean([run.tokens_seen.get(code, 0.0) for run in runs])
        for code in {code for run in runs for code in run.tokens_seen}
    }
    if tokens is None:
        text = {code: TrainingText(tokens=n, tokens_seen=n) for code, n in seen.items()}
        return text, "training tokens seen, repeats counted"
    text = {}
    for code, splits in claims.read_manifest(tokens, "tokenize")["languages"].items():
        train = splits.get("train", {})
        count, pages = train.get("tokens", 0), train.get("pages", 0)
        text[code] = TrainingText(
            tokens=float(count),
            tokens_seen=seen.get(code),
            bytes_per_token=train["text_bytes"] / count if count else None,
            tokens_per_page=count / pages if pages else None,
            unknown_share=train["unknown_tokens"] / count if count else None,
            byte_fallback_share=train["byte_tokens"] / count if count else None,
        )
    return text, "distinct training tokens"
