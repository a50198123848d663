"""Language identification by the user's fastText model: GlotLID, OpenLID, NLLB, lid.176.

The runtime is `fasttext-predict` (the extra `mswitch[fasttext]`): it reads .bin and .ftz, has
wheels for every supported Python, and does not need NumPy (the original binding breaks on NumPy 2).
The model reads the first 10,000 characters of a page as one line. fastText has no notion of
reliability: every prediction counts as reliable, and its probability decides.

**Labels** are mapped to mC4's codes. GlotLID and NLLB have labels such as `__label__swh_Latn`,
lid.176 such as `__label__sw`. Languages are ISO 639-3 or 639-1 and finer than mC4's: `arz` is
Egyptian Arabic, `cmn` Mandarin. A label is looked up as it is, then as its macrolanguage
(`data.languages`). A language in Latin script has its own code where mC4 has one for it.

    swh_Latn, sw -> sw    arz_Arab -> ar    heb_Hebr -> iw    hin_Latn -> hi-Latn    srp_Latn -> sr
    hrv_Latn -> hr, which is not among mC4's codes        und_Mong -> und    zxx_Zxxx -> zxx

**Text** is preprocessed like the model's training text, which differs between authors. OpenLID
lower-cases text and removes digits and all characters outside words (its README; `NO_WORD` and
`DIGIT`). On other text it fails, first for small languages. GlotLID reads text unchanged (its
README predicts "Hello, world!"), as does lid.176. The file does not name the preprocessing, but its
words reveal it: lid.176's 7,235 words include "Die", "2007" and "(UTC)", none of which OpenLID's
preprocessing leaves as it is.

**Trial.** The loader is C++ and checks no number of the file. A file may make it run for ever, take
all memory or read outside its tables. So a model is first loaded in a process with limits, which it
then ends alone, before the workers of a job load it. A file that passes is trusted.

The format is what `FastText::loadModel` of fastText 0.9.2 reads: arguments, dictionary, pairs of
pruned n-grams, and two matrices, dense or quantized. The loader does not notice where a file ends,
and gives all labels of one that was cut the same probability. So the file's length is compared with
what it declares. No other number is checked here.
"""

import functools
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import regex

from data.errors import DataError
from data.files.paths import local_copy
from data.language_id.identifiers import Prediction
from data.language_id.opinions import fasttext_confusions
from data.languages import NO_LANGUAGE, UNDETERMINED, code_of_iso_639, find

PREFIX = "__label__"
UNKNOWN = frozenset({"und", "mul", "mis"})
OF_LID_176 = {"als": "gsw"}  # Wikipedia's code for Alemannic is ISO's for Tosk Albanian
ARGUMENTS = struct.Struct("<14id")  # magic number, version, and arguments, of which dim is first
MAGIC = 793712314
COUNTS = struct.Struct("<iiiqq")  # entries, words, labels, tokens; pruned n-grams, or -1
BEHIND_WORD = len(b"\0") + struct.calcsize("<qb")  # its count and type
PAIR = struct.calcsize("<2i")
CENTROIDS = struct.calcsize("<256f")  # per dimension of a quantizer
QUANTIZER = struct.calcsize("<4i")
END_OF_LINE = "</s>"  # fastText's own word
MOST_STRAYS = 0.001  # share of words that may break a rule of their text
DIGIT = regex.compile(r"\d")
NO_WORD = regex.compile(r"[^\p{Word}\p{Zs}]")
SPACES = regex.compile(r"\s+")
MOST_CHARACTERS = 10_000
OWN_MEMORY = 1 << 30  # of Python, its modules, fixed tables (0.2 GB) and a small file's n-grams
MEMORY_PER_BYTE = 4  # of the file, which is mapped once, loaded once, and has n-grams per word
SECONDS = 60  # of processor time, and one for each BYTES_PER_SECOND; a model of 1 GB takes about 5
BYTES_PER_SECOND = 10_000_000
REFUSED = 3  # exit status; the output is the sentence


class ModelTrainingText(NamedTuple):
    """How a model's training text was written.

    Attributes:
        labels: its labels, as they stand in the file.
        is_lower_case: whether it was lower-cased.
        has_digits: whether digits were left in.
        has_marks: whether punctuation and symbols were left in.
    """

    labels: tuple[str, ...]
    is_lower_case: bool
    has_digits: bool
    has_marks: bool

    def written(self, text: str) -> str:
        """Returns a text on one line, written as the training text was."""
        text = text.lower() if self.is_lower_case else text
        text = SPACES.sub(" ", text).strip()
        text = text if self.has_digits else DIGIT.sub("", text)
        return text if self.has_marks else NO_WORD.sub("", text)


class FastTextIdentifier:
    """A fastText model with its labels as mC4's codes; cannot be pickled.

    Attributes:
        confusions: what it can answer with.
    """

    def __init__(self, model: Path):
        """Loads the model.

        Raises:
            DataError: if the file is not a fastText classifier, or the extra is not installed.
        """
        self._training_text = training_text(existing_file(model))
        self._predict, self._code = _load(model)
        self.confusions = fasttext_confusions(map(self._code, self._training_text.labels))

    def identify(self, text: str) -> Prediction:
        """Returns the model's prediction; lone surrogates are replaced by "?"."""
        line = self._training_text.written(text[:MOST_CHARACTERS])
        labels, probabilities = self._predict(line.encode("utf-8", "replace").decode("utf-8"))
        if not line or not labels:
            return Prediction(UNDETERMINED, 0.0, is_reliable=False)
        # Probabilities are float32 sums and can exceed 1 by about 1e-5.
        return Prediction(
            self._code(labels[0]), min(float(probabilities[0]), 1.0), is_reliable=True
        )


def load_identifier(model: str) -> FastTextIdentifier:
    """Returns the identifier of a model that may be on an object store.

    Raises:
        DataError: if the file cannot be read or is not a classifier, or the extra is not installed.
    """
    with local_copy(model) as here:  # the loader keeps nothing of the file open
        return FastTextIdentifier(here)


def existing_file(model: Path) -> Path:
    """Returns the model's path.

    Raises:
        DataError: if there is no such file.
    """
    if not model.is_file():
        raise DataError(
            f"Language identifier {str(model)!r} was asked for and is not a file; "
            "give a fastText model (.bin or .ftz), or leave the option out for CLD3."
        )
    return model


def _load(model: Path) -> tuple[Callable, Callable[[str], str]]:
    try:
        import fasttext

    except ImportError as error:
        raise DataError(
            f"Language identifier {str(model)!r} is a fastText model, which nothing installed here "
            "can read; install mswitch with the extra 'fasttext'."
        ) from error
    try:
        predict = fasttext.load_model(str(model)).predict
        predict("")
    except (ValueError, RuntimeError) as error:
        raise not_a_classifier(model, str(error)) from error
    return predict, mc4_code


@functools.cache
def mc4_code(label: str) -> str:
    """Returns mC4's code for a label, the language's own code if mC4 has none, "und" or "zxx"."""
    name, _, script = label.removeprefix(PREFIX).partition("_")
    name = name if script else OF_LID_176.get(name, name)
    if name == NO_LANGUAGE:
        return NO_LANGUAGE
    code = (None if name in UNKNOWN else code_of_iso_639(name)) or UNDETERMINED
    variant = find(f"{code}-{script}")
    return code if variant is None else variant.code


def training_text(model: Path) -> ModelTrainingText:
    """Returns how the training text of a model was written.

    Raises:
        DataError: if the file is not a fastText classifier.
    """
    return infer_training_text(*read_entries(model))


def infer_training_text(words: list[str], labels: tuple[str, ...]) -> ModelTrainingText:
    """Returns how text of these words is written; as it is, if there are none."""
    words = [word for word in words if word != END_OF_LINE]
    strays = MOST_STRAYS * len(words)
    return ModelTrainingText(
        labels=labels,
        is_lower_case=bool(words) and sum(word != word.lower() for word in words) <= strays,
        has_digits=not words or sum(map(bool, map(DIGIT.search, words))) > strays,
        has_marks=not words or sum(map(bool, map(NO_WORD.search, words))) > strays,
    )


def read_entries(model: Path) -> tuple[list[str], tuple[str, ...]]:
    """Returns the words and the labels of a model.

    Raises:
        DataError: if the file is not a model, or ends before what it declares.
    """
    try:
        with (
            model.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _entries(model, content)
    except (struct.error, ValueError, OverflowError) as error:  # ValueError: empty, or not UTF-8
        raise not_a_classifier(model, str(error)) from error


def _entries(model: Path, content: mmap.mmap) -> tuple[list[str], tuple[str, ...]]:
    magic, _, dim, *_ = ARGUMENTS.unpack_from(content)
    size, words, _, _, pruned = COUNTS.unpack_from(content, ARGUMENTS.size)
    if magic != MAGIC:
        raise not_a_classifier(model, "it does not begin as one")
    entries, at = [], ARGUMENTS.size + COUNTS.size
    for number in range(size):
        end = content.find(b"\0", at)
        if end < 0:
            raise not_a_classifier(model, f"word {number + 1:,} of {size:,} has no end")
        entries.append(content[at:end])
        at = end + BEHIND_WORD
    if _end_of_matrices(content, at + PAIR * max(pruned, 0), dim) > len(content):
        raise not_a_classifier(model, "its matrices are cut")
    return (
        [word.decode("utf-8", "replace") for word in entries[:words]],
        tuple(label.decode("utf-8") for label in entries[words:]),
    )


def _end_of_matrices(content: mmap.mmap, at: int, dim: int) -> int:
    """Returns the place behind both matrices, the first of which begins at a place."""
    for _ in ("input", "output"):
        is_quantized = content[at : at + 1] == b"\1"
        if not is_quantized:
            rows, columns = struct.unpack_from("<qq", content, at + 1)
            at += struct.calcsize("<?qq") + 4 * rows * columns
            continue
        has_norms, rows, _, codes = struct.unpack_from("<?qqi", content, at + 1)
        at += struct.calcsize("<??qqi") + codes + QUANTIZER + CENTROIDS * dim
        at += (rows + QUANTIZER + CENTROIDS) * has_norms
    return at


def not_a_classifier(model: Path, reason: str) -> DataError:
    """Returns the error for a file that is not what the user called it."""
    return DataError(
        f"Language identifier {str(model)!r} should be a fastText classifier and is not "
        f"({reason}); give one such as GlotLID's model.bin."
    )


def try_to_load(model: Path, seconds: int = SECONDS) -> None:
    """Loads the model in a process with limits and drops it.

    Raises:
        DataError: if the file is not a fastText classifier, or the extra is not installed.
    """
    existing_file(model)  # before a process is started for it
    command = [sys.executable, "-P", "-m", __name__, str(model), str(seconds)]
    # OpenBLAS, which NumPy loads, reserves 40 MB of addresses per thread: 2 GB on 48 cores.
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    trial = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if trial.returncode == REFUSED:
        raise DataError(trial.stdout.strip())
    if trial.returncode:
        raise not_a_classifier(model, _failure(trial))


def _failure(trial: subprocess.CompletedProcess[str]) -> str:
    if trial.returncode == -signal.SIGXCPU:
        return "loading it takes more processor time than its size explains"
    if trial.returncode < 0:
        return f"loading it ended with {signal.Signals(-trial.returncode).name}"
    message = trial.stderr.strip().splitlines()[-1:] or ["no message"]
    return f"loading it failed: {message[0]}"


def main(model: Path, seconds: int) -> int:
    """Loads the model in this process under limits, and returns the exit status."""
    size = model.stat().st_size
    memory, time = OWN_MEMORY + MEMORY_PER_BYTE * size, seconds + size // BYTES_PER_SECOND
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CPU, time)
    try:
        FastTextIdentifier(model).identify("Habari")
    except DataError as error:
        refusal = error
    except MemoryError:
        refusal = not_a_classifier(model, f"loading it takes more than {memory:,} bytes of memory")
    else:
        return 0
    sys.stdout.write(str(refusal))  # for `try_to_load`
    return REFUSED


def _lower(limit: int, value: int) -> None:
    """Lowers a limit of this process; one that is lower already stays."""
    soft, hard = resource.getrlimit(limit)
    finite = [bound for bound in (soft, hard, value) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(limit, (min(finite), hard))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
