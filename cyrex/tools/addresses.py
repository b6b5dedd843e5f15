"""Which URLs a tool may have: https at public addresses, and hosts that the operator lists.

A URL is checked twice: as it is written, when a tool is registered, and for every address that
its host has at the moment of a call.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from settings import get_settings, words_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
# RFC 3986 does not allow these in a URL; parsers disagree about their meaning.
FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f-\U0010ffff\\<>\"^`{|}]")
LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*")
# `0x7f.1`, `2130706433`, `0177.0.0.1`: the resolver would read these as addresses.
NUMERIC_LABEL = re.compile(r"(0x[0-9a-f]*|\d+)")

# https://www.iana.org/assignments/iana-ipv4-special-registry: addresses that are not globally
# reachable, and multicast.
SPECIAL_IPV4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
# Teredo and other protocol assignments, documentation, 6to4 (an IPv4 address inside), SRv6.
SPECIAL_IPV6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
)


class AddressRefused(Exception):
    """A tool may not be at this URL; nothing was sent. The message says why."""


@dataclass(frozen=True)
class AllowedHosts:
    """The entries of TOOL_ALLOWED_HOSTS."""

    names: frozenset[tuple[str, int | None]]
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, text: str) -> AllowedHosts:
        names: set[tuple[str, int | None]] = set()
        networks: list[Network] = []
        for entry in words_of(text.lower()):
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                parts = urlsplit(f"//{entry}")
                names.add(((parts.hostname or "").rstrip("."), parts.port))
        return cls(frozenset(names), tuple(networks))

    def has_name(self, host: str, port: int) -> bool:
        return bool({(host, None), (host, port)} & self.names)

    def has_address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


@lru_cache(maxsize=8)
def _parsed(text: str) -> AllowedHosts:
    return AllowedHosts.parse(text)


def allowed_hosts() -> AllowedHosts:
    return _parsed(get_settings().tool_allowed_hosts)


@dataclass(frozen=True)
class Target:
    """A URL in parts. `host` is lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def literal(self) -> Address | None:
        """The address, if the host is written as one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def parse_url(url: str) -> Target:
    """Check a URL as it is written. Raises `AddressRefused`."""
    if len(url) > MAX_URL:
        raise AddressRefused(f"a URL may have {MAX_URL} characters, this has {len(url)}")
    if FORBIDDEN_CHARACTERS.search(url):
        raise AddressRefused(
            "spaces, quotes, brackets, backslashes and what is not ASCII must be percent-encoded"
        )
    parts, port = _split(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise AddressRefused("must begin with https://")
    if "@" in parts.netloc:
        raise AddressRefused("must hold no user name or password; use auth")
    if "#" in url:
        raise AddressRefused("must have no #fragment")
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    target = Target(parts.scheme, _host(parts), port or DEFAULT_PORTS[parts.scheme], path)
    _check_written(target)
    return target


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused(f"is no URL: {error}") from error
    if port == 0:
        raise AddressRefused("is no URL: there is no port 0")
    return parts, port


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise AddressRefused("has no host")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not HOST_NAME.fullmatch(host) or NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
            raise AddressRefused(f"{host!r} is no host name or address") from None
        return host
    if getattr(address, "scope_id", None):
        raise AddressRefused(f"{host!r}: an address with a zone is not public")
    return str(address)


def _check_written(target: Target) -> None:
    """The checks that need no name look-up."""
    allowed = allowed_hosts()
    if target.literal is not None:
        check_addresses(target, [target.literal])
    elif target.scheme == "http" and not allowed.networks:
        check_addresses(target, [])


def check_addresses(target: Target, addresses: list[Address]) -> None:
    """Raises `AddressRefused` unless a tool may be at `target`, whose host has these addresses."""
    allowed = allowed_hosts()
    if allowed.has_name(target.host, target.port):
        return
    listed = [allowed.has_address(address) for address in addresses]
    if target.scheme == "http" and not (listed and all(listed)):
        raise AddressRefused(
            "must begin with https://; an operator may list a host in TOOL_ALLOWED_HOSTS"
        )
    for address, is_listed in zip(addresses, listed, strict=True):
        if not (is_listed or is_public(address)):
            raise AddressRefused(
                f"{target.host} is not a public address; an operator may list it in "
                "TOOL_ALLOWED_HOSTS"
            )


def is_public(address: Address) -> bool:
    """Whether an address is globally reachable and no tunnel to another."""
    if isinstance(address, ipaddress.IPv6Address):
        # ::ffff:0:0/96, 64:ff9b::/96 and ::/96 hold IPv4 addresses; all are outside 2000::/3.
        return address in PUBLIC_IPV6 and not any(address in special for special in SPECIAL_IPV6)
    return not any(address in special for special in SPECIAL_IPV4)


def resolve(target: Target, seconds: float) -> list[Address]:
    """All addresses of the host, checked. Raises `AddressRefused`, `OSError`, `TimeoutError`.

    The caller connects to one of these and never looks the name up again: a name server that
    changes its answer changes nothing.
    """
    literal = target.literal
    addresses = [literal] if literal is not None else _look_up(target, seconds)
    check_addresses(target, addresses)
    return addresses


def _look_up(target: Target, seconds: float) -> list[Address]:
    """getaddrinfo has no time limit of its own: a thread that hangs in it is left behind."""
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            texts = dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found)
            answers.put([ipaddress.ip_address(text) for text in texts])
        except (OSError, UnicodeError, ValueError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"the name server did not answer within {seconds:g} s") from None
    if isinstance(answer, OSError):
        raise answer
    return answer
