import pytest

from data.rights import hosts
from data.rights.hosts import LONGEST, host_of


@pytest.mark.parametrize(
    "url, host",
    [
        ("https://www.Example.ORG/a?b#c", "www.example.org"),
        ("http://example.org:80/", "example.org"),
        ("https://example.org:443", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("https://user:word@example.org.:8443/", "example.org:8443"),
        ("https://münchen.de/", "xn--mnchen-3ya.de"),
        ("https://Faß.de/", "xn--fa-hia.de"),
        ("https://i❤.ws/", "xn--i-7iq.ws"),
        ("example.org/a", "example.org"),
        ("example.org/?to=https://b.example/", "example.org"),
        ("//example.org/a", "example.org"),
        (" \thttps://example.org/", "example.org"),
        ("ht\ntps://example.org/", "example.org"),
        ("http://[2001:db8::1]:8080/", "2001:db8::1:8080"),
        ("http://\ud800.example/", "?.example"),
        ("http://[::1", ""),
        ("http://example.org:port/", ""),
        ("", ""),
    ],
)
def test_host_of(url, host):
    assert host_of(url) == host


def test_what_is_too_long_for_a_name_is_not_encoded(monkeypatch):
    encoded = []
    monkeypatch.setattr(hosts, "_idna_2008", lambda host: encoded.append(host) or b"x")
    assert host_of(f"http://{'ü' * (LONGEST + 1)}/") == "ü" * (LONGEST + 1)
    assert not encoded
    assert host_of(f"http://{'ü' * LONGEST}/") == "x"
