import pytest
from colliding_words import colliding_words
from declarations import SIX_LANGUAGES
from raw_fasttext import LABELS, arguments, counts, dense, entries, model

from data.errors import DataError
from data.language_id.fasttext_trial import try_to_load


def test_a_model_loads_within_its_limits():
    try_to_load(SIX_LANGUAGES)


def test_a_missing_file_starts_no_process(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        try_to_load(tmp_path / "no.bin")


CHAIN = model(  # Huffman's tree of labels that never occur
    head=arguments(loss=1),
    declared=counts(3, 100_000),
    labels=entries([b"a"] * 100_000, 1, each=0),
    matrices=dense(6, 2) + dense(100_000, 2),
)


@pytest.mark.parametrize(
    "content, reason",
    [(model(head=arguments(bucket=0)), "ended with SIGFPE"), (CHAIN, "loading it takes more")],
    ids=["division by zero", "memory with the square of the labels"],
)
def test_a_file_that_breaks_the_loader_ends_its_own_process_only(tmp_path, content, reason):
    path = tmp_path / "hostile.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"hostile\.bin.*{reason}"):
        try_to_load(path, seconds=2)


def test_words_that_share_a_hash_end_at_the_limit_of_time(tmp_path):
    """The loader compares each word with all before it: 2^16 words take half a minute."""
    words = colliding_words(16)
    path = tmp_path / "colliding.bin"
    path.write_bytes(
        model(
            head=arguments(bucket=0, maxn=0, dim=1),
            declared=counts(len(words), len(LABELS)),
            words=entries(words, 0),
            matrices=dense(len(words), 1) + dense(len(LABELS), 1),
        )
    )
    with pytest.raises(DataError, match=r"colliding\.bin.*more processor time than its size"):
        try_to_load(path, seconds=1)


@pytest.mark.parametrize(
    "loader, reason",
    [
        ("bytearray(1 << 36)", r"takes more than [\d,]+ bytes of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended with SIGSEGV"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("sys.exit(1)", "failed: no message"),
    ],
)
def test_a_loader_that_fails_ends_its_own_process_only(tmp_path, monkeypatch, loader, reason):
    source = f"import os, signal, sys\ndef load_model(path): {loader}\n"
    (tmp_path / "fasttext.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=rf"six_languages\.bin.*{reason}"):
        try_to_load(SIX_LANGUAGES)


def test_without_the_extra_the_sentence_of_the_process_is_the_error(tmp_path, monkeypatch):
    (tmp_path / "fasttext.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"^Language identifier .* the extra 'fasttext'\.$"):
        try_to_load(SIX_LANGUAGES)
