import numpy as np

from model.layers.position_bias import bucket


def test_bucket_equals_t5s():
    """Mesh TensorFlow's formula, one offset at a time."""

    def slow(offset, bidirectional, buckets=32, farthest=128):
        base, distance = 0, -offset
        if bidirectional:
            buckets //= 2
            base = buckets if distance < 0 else 0
            distance = abs(distance)
        else:
            distance = max(distance, 0)
        exact = buckets // 2
        if distance < exact:
            return base + distance
        far = exact + int(np.log(distance / exact) / np.log(farthest / exact) * (buckets - exact))
        return base + min(far, buckets - 1)

    offsets = np.arange(-300, 301).reshape(1, -1)
    for bidirectional in (True, False):
        expected = [[slow(int(offset), bidirectional) for offset in offsets[0]]]
        assert bucket(offsets, bidirectional).tolist() == expected
