"""Where faces may be sent, and from where pictures may be fetched."""

import ipaddress
import socket
from enum import IntEnum

import httpx

from ferkit import ComponentError


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine: a loopback address, or ``localhost`` where that means nothing else.

    Other names are not looked up: what they resolve to may change between the look and the request.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost":
        try:
            found = {str(item[4][0]) for item in socket.getaddrinfo(name, None)}
        except OSError:
            return False
        return all(map(_is_loopback_address, found))
    return _is_loopback_address(name)


def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
    return (mapped or address).is_loopback


def check_address(url: httpx.URL, allow_remote: bool) -> None:
    """Refuse to send faces to another machine unless that is allowed.

    Raises:
        ComponentError: If it is not.
    """
    if not allow_remote and not is_loopback(url.host):
        raise ComponentError(
            f"faces would be sent to {origin(url)}, which is not this machine: set allow_remote: true if the people in "
            "the pictures and the law allow that. A server on this machine is written 127.0.0.1, [::1] or localhost"
        )


def may_fetch(target: httpx.URL, base: httpx.URL, allow_remote: bool) -> bool:
    """Whether a picture may be fetched from where the server says it lies.

    From its own host always; from others only where remote hosts are allowed, and none that is nearer to this machine than
    the server: a server on the internet names no machine of a private network, and none but this machine names itself.
    Names are looked up, numbers in whatever spelling too; what is not found is not fetched.
    """
    if target.scheme not in ("http", "https"):
        return False
    if target.host == base.host:
        return True
    there, here = _reach(target.host), _reach(base.host)
    if Reach.NOWHERE in (there, here) or there < here:
        return False
    return allow_remote or there is Reach.MACHINE


class Reach(IntEnum):
    """How far away an address is; NOWHERE: it is no machine's that a picture could lie on."""

    NOWHERE = -1
    MACHINE = 0
    NETWORK = 1
    INTERNET = 2


def _reach(host: str) -> Reach:
    """How far the nearest address of ``host`` is away."""
    try:
        found = {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return Reach.NOWHERE
    return min((_reach_of_address(text) for text in found), default=Reach.NOWHERE)


def _reach_of_address(text: str) -> Reach:
    address = ipaddress.ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:  # who connects to 0.0.0.0 meets this machine
        return Reach.MACHINE
    if address.is_link_local or address.is_multicast or address.is_reserved:  # 169.254.169.254 hands out credentials
        return Reach.NOWHERE
    return Reach.INTERNET if address.is_global else Reach.NETWORK


def origin(url: httpx.URL) -> str:
    """Scheme, host and port."""
    return str(url.copy_with(raw_path=b"/", fragment=None)).rstrip("/")


def shown(url: httpx.URL) -> str:
    """``url`` without its query, which may hold a signature."""
    return str(url.copy_with(query=None, fragment=None))
