"""Token blocks as an artifact: opening, checking, writing shards."""
