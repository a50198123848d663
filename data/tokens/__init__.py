"""The SentencePiece vocabulary and token blocks, the format that `mswitch tokenize` writes."""
