"""Output directories: claims, manifests, digests."""
