"""URLs: which are fetched, and how one is shown."""

import ipaddress
from urllib.parse import urlsplit

from unlearn.errors import UsageProblem
from unlearn.files.text import shown


def check_url(url: str) -> str:
    """Return the URL if it may be fetched; raises UsageProblem with the reason otherwise."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageProblem(f"{place(url)} is no URL ({error})") from None
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise UsageProblem(f"{place(url)} is no URL; write other characters as %XX")
    if parts.username is not None:
        raise UsageProblem("a URL with a user name or password in it is not fetched")
    local = parts.scheme == "http" and is_loopback(host or "")
    if parts.scheme != "https" and not local:
        raise UsageProblem(f"{place(url)}: only https is fetched, not {parts.scheme or 'this'}")
    if not host:
        raise UsageProblem(f"{place(url)} is no URL; write https://HOST/PATH")
    return url


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this machine, by its address or as localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def place(url: str) -> str:
    """Return a URL as it is shown: without its query, which may hold a secret."""
    return shown(url.partition("#")[0].partition("?")[0])
