"""What `tokenize` is asked for: the corpora, the vocabulary and the shards to write, checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions

from data.files.digests import digest_of_bytes
from data.files.paths import exists, join_path, read_bytes
from data.tokens.manifest import Shard, VocabularyManifest
from data.tokens.tokenizer import MODEL_FILE, check_character_maps
from pipeline.arguments import Tokenize
from pipeline.artifacts.claims import digest_of_manifest, read_manifest
from pipeline.artifacts.intent import Identity, Intent, Reading
from pipeline.beam.options import check_workers_reach, pipeline_options
from pipeline.beam.store_options import use_store_options
from pipeline.corpus.pages import corpus_digests, corpus_read, training_pages
from pipeline.errors import ArtifactError
from pipeline.tokens.onto import Onto, onto_of
from pipeline.tokens.page_shards import added_shards, page_shards, split_files
from pipeline.tokens.write_shards import PageShard


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """A job whose arguments passed all checks.

    Attributes:
        options: options of the Beam job.
        vocabulary: manifest of the vocabulary.
        model: its SentencePiece model.
        shards: files of each shard to write.
        onto: token blocks that are added to; None for none.
        carried: their shards that stay.
        intent: what the job would do.
    """

    options: PipelineOptions
    vocabulary: VocabularyManifest
    model: bytes
    shards: Sequence[PageShard]
    onto: Onto | None
    carried: Sequence[Shard]
    intent: Intent


def resolved(arguments: Tokenize) -> TokenRequest:
    """Returns the job that the arguments name.

    Raises:
        ArtifactError: if there is no such corpus or vocabulary.
        DataError: if workers do not reach them.
    """
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    places = [] if arguments.onto is None else [arguments.onto]
    check_workers_reach(options, [*arguments.corpus, arguments.out, *places])
    vocabulary, model = read_vocabulary(arguments.vocabulary)
    inputs = corpus_digests(arguments.corpus)
    inputs["vocabulary"] = digest_of_manifest(arguments.vocabulary)
    files = split_files(arguments.corpus)
    onto, carried = None, []
    if arguments.onto is not None:
        onto = onto_of(arguments.onto, arguments.corpus, vocabulary.sha256)
        inputs["onto"] = digest_of_manifest(arguments.onto)
        carried = onto.carried([*training_pages(arguments.corpus)])
        files = onto.added(files)
    shards = page_shards(files) if onto is None else added_shards(files, onto)
    intent = Intent(
        stage="tokenize",
        reads=[
            corpus_read(arguments.corpus, [file for some in files.values() for file in some]),
            Reading("vocabulary", arguments.vocabulary, 1, len(model)),
            *(
                [Reading("tokens", onto.directory, 2 * len(carried), None, "which stay")]
                if onto
                else []
            ),
        ],
        writes=f"{len(shards):,} shards of token blocks, {MODEL_FILE} and manifest.json",
        out=arguments.out,
        identity=Identity({}, inputs),
        work=f"tokens of {vocabulary.vocabulary_size:,} ids",
    )
    return TokenRequest(
        options=options,
        vocabulary=vocabulary,
        model=model,
        shards=shards,
        onto=onto,
        carried=carried,
        intent=intent,
    )


def read_vocabulary(directory: str) -> tuple[VocabularyManifest, bytes]:
    """Returns the vocabulary's manifest and model.

    Raises:
        ArtifactError: if the model is not the one that the manifest describes.
        DataError: if the model's character map is damaged.
    """
    manifest = read_manifest(directory, "vocabulary", VocabularyManifest)
    path = join_path(directory, MODEL_FILE)
    model = read_bytes(path) if exists(path) else b""
    if digest_of_bytes(model) != manifest.sha256:
        raise ArtifactError(
            f"{path} should be the model that {directory}/manifest.json describes and is missing "
            "or another (checksum); make the vocabulary again."
        )
    check_character_maps(model, path)
    return manifest, model
