# The image that Beam workers run: the distribution and its pinned dependencies, on Beam's own image.
# Build it from the checkout: docker build --tag mswitch-worker .
FROM apache/beam_python3.11_sdk:2.77.0

COPY pyproject.toml constraints.txt README.md LICENSE /mswitch/
COPY data /mswitch/data
COPY model /mswitch/model
COPY eval /mswitch/eval
COPY pipeline /mswitch/pipeline
RUN pip install --no-cache-dir --constraint /mswitch/constraints.txt '/mswitch[s3,gcs]' && rm -rf /mswitch
# A worker that lacks one of these would fail only in the middle of the first shard.
RUN python -c "import gcld3, fastwarc, resiliparse, langdetect_rs, pyarrow, xxhash, s3fs, gcsfs" \
 && python -c "import pipeline.clean" && python -c "import pipeline.tokenize"
