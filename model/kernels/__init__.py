"""Attention with T5's bias as kernels in Pallas, for TPUs (Mosaic) and GPUs (Triton)."""
