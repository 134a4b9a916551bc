"""TLS as a connection's files say: one context for the lab's own links and for kafka-python's clients."""

import ssl
from collections.abc import Mapping
from typing import Any

from streaming_lab.stream.missing import NotLetIn

CHECK_FILES = "Check ssl_cafile, ssl_certfile, ssl_keyfile, ssl_password and ssl_crlfile of the connection."
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")


def context(connection: Mapping[str, Any]) -> ssl.SSLContext | None:
    """What the connection's ssl_ names say, in kafka-python's meaning; None where its security_protocol wants no TLS.

    A file that is none is `NotLetIn`. kafka-python 3.0 would make the same of them, but for ssl_crlfile: it hands that
    to a parameter that `ssl` has not.
    """
    if "SSL" not in str(connection.get("security_protocol")):
        return None
    given: ssl.SSLContext | None = connection.get("ssl_context")
    if given is not None:
        return given
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = connection.get("ssl_check_hostname", True)
    files = {key: connection[key] for key in _FILES if connection.get(key)}
    try:
        if "ssl_cafile" in files:
            made.load_verify_locations(files["ssl_cafile"])
        else:
            made.load_default_certs()
        if "ssl_certfile" in files:
            made.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), connection.get("ssl_password"))
        if "ssl_crlfile" in files:
            made.load_verify_locations(files["ssl_crlfile"])
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        named = ", ".join(f"{key}={value}" for key, value in files.items())
        raise NotLetIn(f"TLS can't be spoken with {named}: {error}", CHECK_FILES) from error
    return made
