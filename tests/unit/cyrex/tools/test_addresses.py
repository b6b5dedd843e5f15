"""Which URLs a tool may have, as they are written and as they resolve."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from cyrex.tools.addresses import AddressRefused, check_addresses, is_public, parse_url, resolve
from tests.support.tool_server import names, variables

NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.5",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450::1"]

WRITTEN = {
    "ftp://example.com/": "must begin with https://",
    "//example.com/": "must begin with https://",
    "example.com": "must begin with https://",
    "": "must begin with https://",
    "http://example.com/": "must begin with https://; an operator may list",
    "https:///path": "has no host",
    "https://user:pass@example.com/": "must hold no user name or password",
    "https://user@example.com/": "must hold no user name or password",
    "https://@127.0.0.1/": "must hold no user name or password",
    "https://example.com/#part": "must have no #fragment",
    "https://example.com/a b": "must be percent-encoded",
    "https://example.com/\r\nHost: x": "must be percent-encoded",
    "https://example.com\\@127.0.0.1/": "must be percent-encoded",
    "https://münchen.example/": "must be percent-encoded",
    "https://①②⑦.⓪.⓪.①/": "must be percent-encoded",
    "https://example.com:0/": "there is no port 0",
    "https://example.com:65536/": "is no URL",
    "https://example.com:x/": "is no URL",
    "https://[::1/": "is no URL",
    "https://a..example/": "is no host name or address",
    "https://exa%6dple.com/": "is no host name or address",
    "https://2130706433/": "is no host name or address",
    "https://017700000001/": "is no host name or address",
    "https://0x7f000001/": "is no host name or address",
    "https://0x7f.0.0.1/": "is no host name or address",
    "https://0177.0.0.1/": "is no host name or address",
    "https://127.1/": "is no host name or address",
    "https://127.0.0.1./": "127.0.0.1 is not a public address",
    "https://[fe80::1%25eth0]/": "zone is not public",
    "https://x/" + "a" * 3000: "a URL may have 2048 characters",
}


@pytest.fixture(autouse=True)
def nothing_listed() -> Iterator[None]:
    with variables(TOOL_ALLOWED_HOSTS=""):
        yield


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_addresses_that_are_not_public(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    host = f"[{text}]" if address.version == 6 else text
    with pytest.raises(AddressRefused, match="not a public address"):
        parse_url(f"https://{host}/")


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_that_are_public(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert is_public(address)
    host = f"[{text}]" if address.version == 6 else text
    assert parse_url(f"https://{host}:8443/").literal == address


@pytest.mark.parametrize("url", WRITTEN)
def test_urls_that_are_refused_as_written(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        parse_url(url)
    assert WRITTEN[url] in str(refused.value)


def test_a_url_in_parts() -> None:
    target = parse_url("https://CRM.Example.com.:8443/api/look%20up?a=b&c")
    assert (target.host, target.port) == ("crm.example.com", 8443)
    assert target.path == "/api/look%20up?a=b&c"
    assert target.host_header == "crm.example.com:8443"
    assert parse_url("https://example.com").path == "/"
    assert parse_url("https://example.com:443/").host_header == "example.com"
    assert parse_url("https://[2606:4700::1]:8443/").host_header == "[2606:4700::1]:8443"


def test_a_listed_host_may_be_private_and_plain() -> None:
    with variables(TOOL_ALLOWED_HOSTS="CRM.local, erp.local:8080, 10.1.0.0/16, [::1]:99"):
        assert parse_url("http://crm.local:1234/").port == 1234
        assert parse_url("http://erp.local:8080/").port == 8080
        assert parse_url("http://10.1.2.3/").host == "10.1.2.3"
        assert parse_url("http://[::1]:99/").host == "::1"
        for url in ("http://10.2.0.1/", "https://10.2.0.1/", "https://[::1]:98/"):
            with pytest.raises(AddressRefused):
                parse_url(url)
        # A network is listed: whether the name is in it shows when it is looked up.
        target = parse_url("http://erp.local:8081/")
        check_addresses(target, [ipaddress.ip_address("10.1.0.9")])
        for elsewhere in ("10.2.0.9", "8.8.8.8"):
            with pytest.raises(AddressRefused, match="must begin with https"):
                check_addresses(target, [ipaddress.ip_address(elsewhere)])


def test_one_private_address_among_public_ones_is_enough() -> None:
    target = parse_url("https://example.com/")
    mixed = [ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("127.0.0.1")]
    with pytest.raises(AddressRefused, match=r"example\.com is not a public address"):
        check_addresses(target, mixed)


def test_names_are_looked_up_and_checked() -> None:
    with names(inside_test="10.0.0.7", outside_test="8.8.8.8"):
        with pytest.raises(AddressRefused, match=r"inside\.test is not a public address"):
            resolve(parse_url("https://inside.test/"), 2)
        found = resolve(parse_url("https://outside.test/"), 2)
    assert found == [ipaddress.ip_address("8.8.8.8")]
    with pytest.raises(AddressRefused):
        resolve(parse_url("https://localhost/"), 2)
