"""Text of benchmarks in pages."""
