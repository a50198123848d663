"""A file of thresholds as FineWeb2 has them."""

FILE = """dup_line_frac: 0.302
dup_n_grams:
- - 5
  - 0.193
language_score: 0.3
line_punct_thr: -1
max_avg_word_length: 9
max_non_alpha_words_ratio: 0.802
min_avg_word_length: 0
new_line_ratio: 0.167
stopwords:
- ya
- "n\\xED"
top_n_grams:
- - 2
  - 0.396
"""
