"""Checks of the network with nothing but Python: ports and their holders, localhost, the name server, proxies."""

import os
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from streaming_lab.doctor.symptom import Symptom
from streaming_lab.ports import find_holder, is_taken

USUAL_PORTS = (9092, 29092, 5000)  # those of the assignment and of other people's programs
DOWNLOAD_HOSTS = ("pypi.org", "repo1.maven.org")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SLOW = 3.0  # seconds for a name
_PROXY_TIMEOUT = 2.0


def check_ports() -> Iterator[Symptom]:
    """The usual ports, and who holds them."""
    for port in USUAL_PORTS:
        if is_taken(port):
            why = "the lab takes free ports by itself; only a command that asks for this one fails"
            cure = f"Stop that process if it is yours, or leave `--port {port}` away."
            yield Symptom("ports", "warning", f"port {port} is taken by {_holder(port)}", why, cure)


def _holder(port: int) -> str:
    try:
        return find_holder(port)
    except ImportError:  # psutil comes with the environment
        return "another process"


def check_localhost() -> Iterator[Symptom]:
    """What localhost is, and whether 127.0.0.1 can be listened on."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        what = f"127.0.0.1 can't be listened on ({error.strerror})"
        yield Symptom("localhost", "stands in the way", what, "broker and game listen there", "sudo ip link set lo up")
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()
    if "127.0.0.1" not in found:
        what = f"localhost is {', '.join(sorted(found)) or 'no address'}, and not 127.0.0.1"
        why = "other people's programs say localhost, and the lab's broker listens on 127.0.0.1"
        cure = "Add the line `127.0.0.1 localhost` to /etc/hosts, or write 127.0.0.1."
        yield Symptom("localhost", "warning", what, why, cure)


def check_name_server() -> Iterator[Symptom]:
    """The names that a first run downloads from; behind a proxy they need not resolve."""
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    for host in DOWNLOAD_HOSTS:
        started = time.monotonic()
        try:
            socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
            trouble = ""
        except OSError as error:
            trouble = f"{host} does not resolve ({error.strerror})"
        seconds = time.monotonic() - started
        if seconds > _SLOW:
            trouble = f"the name server took {seconds:.0f} s for {host}"
        if trouble:
            why = "a first run downloads from there; after one complete run nothing is fetched any more"
            cure = "Check the network; a proxy: export HTTPS_PROXY=http://proxy:3128; a mirror: PIP_INDEX_URL"
            yield Symptom("name server", "warning", trouble, why, cure)
            return


def check_proxies() -> Iterator[Symptom]:
    """Each proxy that a variable names: does it accept connections?"""
    for name in [*_PROXIES, *map(str.upper, _PROXIES)]:
        value = os.environ.get(name)
        if not value:
            continue
        where = "its address"
        try:
            proxy = urlsplit(value if "://" in value else f"http://{value}")
            where = f"{proxy.hostname}:{proxy.port or 80}"  # without a login
            socket.create_connection((proxy.hostname or "", proxy.port or 80), _PROXY_TIMEOUT).close()
        except (OSError, ValueError) as error:
            what = f"{name}: nothing accepts connections at {where} ({getattr(error, 'strerror', None) or error})"
            why = "downloads of a first run go through it; nothing on this machine does"
            yield Symptom("proxies", "warning", what, why, f"unset {name}, or correct it")
