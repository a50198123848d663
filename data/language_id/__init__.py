"""Language identifiers (CLD3, fastText, langdetect), their labels and thresholds."""
