"""What is kept beside a corpus so that a crawl can be added, and how the added job uses it.

    CORPUS/growth/growth.json             settings, shards, files of the corpus
    CORPUS/growth/KIND/00003.arrow        what shard 3 left: pages as read, keys, verdicts

A job that adds to a corpus has the shards of the corpus, then new ones. Exchanges are the same over
both. Work on a shard of the corpus takes what is kept instead of the input, and judges only pages
on which a verdict has changed: with the former verdicts and with the new ones. The difference is
what leaves the files of the corpus and what is written to new ones.
"""
