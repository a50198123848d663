import pytest

from data.rights.hosts import host_of


@pytest.mark.parametrize(
    "url, host",
    [
        ("https://www.Example.ORG/a?b#c", "www.example.org"),
        ("http://example.org:80/", "example.org"),
        ("https://example.org:443", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("https://user:word@example.org.:8443/", "example.org:8443"),
        ("https://münchen.de/", "xn--mnchen-3ya.de"),
        ("example.org/a", "example.org"),
        ("http://[2001:db8::1]:8080/", "2001:db8::1:8080"),
        ("http://\ud800.example/", "?.example"),
        ("http://[::1", ""),
        ("http://example.org:port/", ""),
        ("", ""),
    ],
)
def test_host_of(url, host):
    assert host_of(url) == host
