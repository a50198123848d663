"""Output directories: claims, manifests, differences of settings."""
