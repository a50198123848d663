"""The layers of a dense T5 block: attention, feed-forward, normalization, position bias."""
