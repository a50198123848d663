"""One network made from another: dense to sparse, sparse to dense, fewer experts."""
