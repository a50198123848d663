"""What text is, from a web page to a training example. NumPy and text libraries; no Beam, no JAX.

The life of a page:

1. `web_archive` and `json_lines` read it, `page` holds it.
2. `text_rules`, `line_rules`, `language_id` and `held_out` keep it or give the reason why not;
   `web_rules` says in which order for pages of every script.
3. `tokenizer` turns it into ids, `token_blocks` puts them on disk, `staging` brings them from
   an object store.
4. `mixture` and `schedule` say how often and when its language is seen, `window_order` which part
   of it, `span_corruption` hides spans.
5. `loader` makes example i out of (blocks, mixture, seed, i) and nothing else.

Import contents (`from data.examples.span_corruption import corrupt`), never the package.
"""
