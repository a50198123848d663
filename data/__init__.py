"""What text is, from a web page to a training example. NumPy and text libraries; no Beam, no JAX.

The life of a page:

1. `reading` parses it from WET, WARC, JSON lines or Parquet, as a `reading.page.Page`.
2. `rules`, `language_id` and `dedup` keep it, or reject it with a reason. `rules.rule_sets` and
   `rules.web_rules` define which rules apply, and in which order.
   `quality`, `privacy`, `rights` and `leakage` find, in kept pages, signals of poor text,
   personal data, objections of owners and texts of benchmarks.
3. `tokens` turns it into ids and stores them as token blocks; `stores` reads blocks from an object
   store.
4. `examples.mixture` and `examples.schedule` determine how often and when its language is seen,
   `examples.window_order` which part of it; `examples.segments` goes on where either changes.
   `examples.span_corruption` hides spans.
5. `examples.pretraining_examples` makes example i from (blocks, mixture, seed, i) and nothing else.

`tasks` reads what a run is fine-tuned on, and `demo` the text that installed packages ship.

Import contents (`from data.examples.span_corruption import corrupt`), never the package.
"""
