"""The job that cleans pages, and the corpus as later stages read it.

`clean` is the command's work, from its settings to the manifest. `graph` has the job's stages in
order; `read`, `addresses`, `lines`, `near_duplicates`, `judge` and `write` are these stages,
exchanges included; `submission` runs them. `pages` reads a corpus.
"""
