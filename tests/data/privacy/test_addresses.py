import pytest

from data.privacy.addresses import email_addresses, ip_addresses


def found(search, text):
    return [text[span.begin : span.end] for span, is_personal in search(text) if is_personal]


@pytest.mark.parametrize(
    "text, addresses",
    [
        ("联系我们info@foo.com谢谢", ["info@foo.com"]),
        ("이메일은 info@foo.com으로 보내", ["info@foo.com"]),
        ("Пишите: почта@пример.рф.", ["почта@пример.рф"]),
        ("<a.b+c@x-y.co.ke>, 'd@foo.org'", ["a.b+c@x-y.co.ke", "d@foo.org"]),
        ("mailto:x@xn--e1afmkfd.xn--p1ai", ["x@xn--e1afmkfd.xn--p1ai"]),
        ("x@[88.8.44.1]", ["x@[88.8.44.1]"]),
        ("𞓐𞓑@𞓐𞓑.𞓑𞓐", ["𞓐𞓑@𞓐𞓑.𞓑𞓐"]),  # letters of Unicode 15, which Python 3.11 does not know
        ("a@b@c.de", ["b@c.de"]),
        ("icon@2x.png, user@example.com, me@localhost, a@foo.test, @foo.de, foo@, a@b.c1", []),
        ("x" * 70 + "@foo.de", []),
    ],
)
def test_email_addresses(text, addresses):
    assert found(email_addresses, text) == addresses


@pytest.mark.parametrize(
    "text, addresses",
    [
        ("IP:8.8.44.8, 77.1.2.3:80, 77.1.2.0/24.", ["8.8.44.8", "77.1.2.3", "77.1.2.0"]),
        ("地址77.1.2.3是", ["77.1.2.3"]),
        ("[2001:4860:4860::8888]", ["2001:4860:4860::8888"]),
        ("2001:4860:4860::8888: down", ["2001:4860:4860::8888"]),
        (
            "2a00:1450:4001:81b:0:0:0:200e:\n2600:1406:: down",
            ["2a00:1450:4001:81b:0:0:0:200e", "2600:1406::"],
        ),
        ("2001:4860:4860::8888::1 2001:4860:4860::8888:x", ["2001:4860:4860::8888"]),
        # Public or not by the patch of Python.
        ("192.0.0.50 192.0.0.9 2002:808:808::1 2001:20::1", ["192.0.0.9", "2001:20::1"]),
        ("10.0.0.77 192.168.1.77 127.0.0.77 fe80::1 2001:db8::1", []),
        ("6.3.4.2 v2.6.18.100 linux-2.6.18.100 1.2.3.4.55 77.1.2.300 256.1.1.1", []),
        ("188.8.131.52", []),  # written in place of others
        ("22:33:44:55 2000::x 12:30:45", []),
    ],
)
def test_public_ip_addresses(text, addresses):
    assert found(ip_addresses, text) == addresses
