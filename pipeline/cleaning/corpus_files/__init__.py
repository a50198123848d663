"""The files of the corpus: which runs each holds, how they are written, and the manifest."""
