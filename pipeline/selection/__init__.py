"""`select` and `withdraw`: what is decided after cleaning, from scores, lists and robots.txt."""
