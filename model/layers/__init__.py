"""The dense layers of a T5 block: attention, feed-forward, normalization, position bias."""
