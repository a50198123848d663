"""Language identifiers (CLD2, CLD3, fastText, langdetect), their joint decision, thresholds."""
