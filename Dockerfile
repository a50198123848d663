# The image that Beam workers run: the distribution and its locked dependencies, on Beam's own image.
# Build it from the checkout:
#   docker build --tag mswitch-worker --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) .
# A tag can move. To build on exactly one image, name its digest:
#   docker buildx imagetools inspect apache/beam_python3.11_sdk:2.77.0 --format '{{.Manifest.Digest}}'
#   docker build ... --build-arg BASE=apache/beam_python3.11_sdk@sha256:...
ARG BASE=apache/beam_python3.11_sdk:2.77.0
FROM ${BASE}

# Files carry this time, and no bytecode or cache is kept, so two builds hold the same files.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PYTHONDONTWRITEBYTECODE=1

COPY pyproject.toml requirements.lock README.md LICENSE /mswitch/
COPY .ci/required.py /mswitch/.ci/required.py
COPY data /mswitch/data
COPY model /mswitch/model
COPY eval /mswitch/eval
COPY pipeline /mswitch/pipeline
WORKDIR /mswitch
# As `make install` does: pip, the dependencies with their hashes, and then the checkout itself.
RUN sed -n '/^pip==/,/[^\\]$/p' requirements.lock > pip.txt \
 && python -m pip install --no-cache-dir --no-compile --require-hashes --requirement pip.txt \
 && python .ci/required.py s3,gcs,fasttext > required.txt \
 && python -m pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: \
      --constraint requirements.lock --requirement required.txt \
 && python -m pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
 && rm -rf /mswitch/*
# A worker that lacks one of these would fail only in the middle of the first shard.
RUN python -c "import gcld3, fastwarc, resiliparse, langdetect_rs, pyarrow, xxhash, s3fs, gcsfs, fasttext, iso639" \
 && python -c "import pipeline.corpus.clean" && python -c "import pipeline.tokens.tokenize"

# No USER: Beam's boot program makes /opt/apache/beam-venv before it starts Python, and what is
# staged lies below a folder that Dataflow mounts as root. Another user could write to neither.
