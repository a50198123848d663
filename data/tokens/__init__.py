"""The SentencePiece vocabulary, and token blocks: their format, their files, their manifest."""
