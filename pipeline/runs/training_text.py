"""The training text of a report's runs: their tokens and their corpus.

A run's recipe.json holds the digest of its tokens, and the manifest of the tokens those of their
corpora. So a report never shows the funnel, training tokens or shared lines of one corpus beside
runs that were trained on another.
"""

from collections.abc import Sequence
from statistics import fmean

from data.tokens.manifest import SplitTokens, TokenManifest
from eval.gains import TrainingText
from pipeline.artifacts import claims
from pipeline.errors import ArtifactError
from pipeline.runs.finished import FinishedRun

LATER = "tokens_from_"  # and the step: an input of a run whose tokens changed


def check_text(corpus: str | None, tokens: str | None, runs: Sequence[FinishedRun]) -> None:
    """Checks that runs were trained on these tokens, and that the tokens are this corpus.

    Args:
        corpus: directory that `mswitch clean` wrote, or None.
        tokens: directory that `mswitch tokenize` wrote, or None.
        runs: runs of the candidate; imported ones have no tokens and are not checked.

    Raises:
        ArtifactError: if either differs, or a corpus is given without tokens.
    """
    if tokens is not None:
        _check_tokens(tokens, runs)
    if corpus is not None:
        _check_corpus(corpus, tokens)


def _check_tokens(tokens: str, runs: Sequence[FinishedRun]) -> None:
    read = {_last_tokens(run) for run in runs} - {None}
    if read and claims.digest_of_manifest(tokens) not in read:
        raise ArtifactError(
            f"{tokens} are not the tokens that {runs[0].directory} was trained on, or not its last "
            "ones; name those with --tokens, or omit --tokens and --corpus."
        )


def _last_tokens(run: FinishedRun) -> str | None:
    """Returns the digest of the tokens that a run read at its end; None if it is not recorded."""
    inputs = run.about.inputs
    later = [int(name.removeprefix(LATER)) for name in inputs if name.startswith(LATER)]
    return inputs.get(f"{LATER}{max(later)}" if later else "tokens")


def _check_corpus(corpus: str, tokens: str | None) -> None:
    if tokens is None:
        raise ArtifactError(
            f"Only the tokens show whether {corpus} is the corpus of these runs; name them with "
            "--tokens."
        )
    inputs = claims.read_manifest(tokens, "tokenize", claims.Head).inputs
    corpora = {digest for name, digest in inputs.items() if name.startswith("corpus_")}
    if corpora != {claims.digest_of_manifest(corpus)}:
        raise ArtifactError(
            f"{tokens} were made from {len(corpora)} "
            f"{'corpus' if len(corpora) == 1 else 'corpora'}, and {corpus} is not all of it; name "
            "the one corpus that they were made from, or omit --corpus."
        )


def training_text(
    tokens: str | None, runs: Sequence[FinishedRun]
) -> tuple[dict[str, TrainingText], str]:
    """Returns the training text per language, and the definition of its `tokens`.

    Args:
        tokens: directory that `mswitch tokenize` wrote; None counts the tokens that the runs read.
        runs: runs of the candidate.
    """
    seen = {
        code: fmean([run.tokens_seen.get(code, 0.0) for run in runs])
        for code in {code for run in runs for code in run.tokens_seen}
    }
    if tokens is None:
        text = {code: TrainingText(tokens=n, tokens_seen=n) for code, n in seen.items()}
        return text, "training tokens seen, repeats counted"
    text = {}
    for code, splits in claims.read_manifest(tokens, "tokenize", TokenManifest).languages.items():
        if "train" in splits:
            text[code] = _text_of(splits["train"], seen.get(code))
    return text, "distinct training tokens"


def _text_of(train: SplitTokens, seen: float | None) -> TrainingText:
    count = train.tokens
    return TrainingText(
        tokens=float(count),
        tokens_seen=seen,
        bytes_per_token=train.text_bytes / count if count else None,
        tokens_per_page=count / train.pages if train.pages else None,
        unknown_share=train.unknown_tokens / count if count else None,
        byte_fallback_share=train.byte_tokens / count if count else None,
    )
