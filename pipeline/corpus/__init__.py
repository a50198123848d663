"""The job that cleans pages, and the corpus as later stages read it.

`graph` has the job's steps in order; `read`, `addresses`, `lines`, `near_duplicates`, `judge` and
`write` are these steps with their exchanges; `submission` runs them. `pages` reads a corpus.
"""
