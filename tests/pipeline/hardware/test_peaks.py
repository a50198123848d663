import pytest

from pipeline.hardware.peaks import peak_flops


def test_peaks_of_known_devices_only():
    assert peak_flops("NVIDIA H100 80GB HBM3") == pytest.approx(989.4e12)
    assert peak_flops("NVIDIA H100 PCIe") == pytest.approx(756e12)
    assert peak_flops("TPU v5 lite") == pytest.approx(197e12)
    assert peak_flops("TPU v5p") == pytest.approx(459e12)
    assert peak_flops("cpu") is None
