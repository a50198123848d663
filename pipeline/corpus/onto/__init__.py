"""Adding a crawl to a corpus: what is kept beside a corpus, and how the added job uses it.

A job that adds to a corpus has the shards of the corpus, then new ones. Exchanges are the same over
both. A step takes what is kept of a shard of the corpus instead of the input, and judges only pages
on which a verdict has changed: with the former verdicts and with the new ones. The difference is
what leaves the files of the corpus and what is written to new ones. Read in this order:

1. `verdicts.py`: what is kept beside a corpus, one file per kind and shard. `keep.py` writes it.
2. `base.py`: reading, hashes and keys of a shard of the corpus, taken from what is kept.
3. `rejudge.py`: judging a shard of the corpus, under the former verdicts and under the new ones.
4. `delta.py`: which rows leave and which come, and the corpus's files without those that leave.
5. `settings.py`: the settings of an addition, which are those of its corpus. `summary.py`: what it
   changed, for the manifest and the terminal.
"""
