"""One network made from another: dense to sparse, sparse to dense, fitted after pruning."""
