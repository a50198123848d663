"""Kernels in Pallas: attention with T5's bias, for TPUs (Mosaic) and GPUs (Triton)."""
