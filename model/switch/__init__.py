"""The Switch layer: routing, dispatch, experts, combine."""
