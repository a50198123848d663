"""What text is, from a web page to a training example. NumPy and text libraries; no Beam, no JAX.

The life of a page:

1. `reading` parses it from WET, WARC, JSON Lines or Parquet, as a `Page`.
2. `rules`, `language_id` and `dedup` keep it, or reject it with a reason; `rules.rule_sets` has the
   sets of rules by name.
3. `curation` finds, in kept pages, signals of poor text, personal data, objections of owners and
   texts of benchmarks.
4. `tokens` turns it into ids and stores them as token blocks.
5. `examples` makes training example i from (blocks, mixture, seed, i) and nothing else.

`tasks` reads what a run is fine-tuned on, `demo` writes the web that `make demo` cleans, and
`files` is the one layer for files, on this machine or in an object store.

Import contents (`from data.examples.span_corruption import corrupt`), never the package.
"""
