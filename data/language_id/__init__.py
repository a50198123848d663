"""Language identifiers (CLD2, CLD3, fastText, langdetect), what they decide together, thresholds."""
