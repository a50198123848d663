"""SplitMix64's finalizer, which makes unrelated 64-bit numbers of related ones.

Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 16.
"""

import numpy as np
from jaxtyping import UInt64


def splitmix64(values: UInt64[np.ndarray, "*some"]) -> UInt64[np.ndarray, "*some"]:
    """Returns mixed numbers: every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
