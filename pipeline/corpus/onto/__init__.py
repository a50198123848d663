"""Adding a crawl to a corpus: what is kept beside a corpus, and how the added job uses it.

A job that adds to a corpus has the shards of the corpus, then new ones. Exchanges are the same over
both. Work on a shard of the corpus takes what is kept instead of the input, and judges only pages
on which a verdict has changed: with the former verdicts and with the new ones. The difference is
what leaves the files of the corpus and what is written to new ones.
"""
