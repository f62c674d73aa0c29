"""The sign-on of an optical port, as its standard has it (IEC 62056-21 with annex E): written for these tests from the standard
alone, for the foreign clients begin with HDLC.

Characters have seven bits and even parity. The emulated line carries eight bits, so the parity is made and checked here.
"""

import time

# How long the meter may take to name itself before it is asked again: 1.5 s by the standard, and the emulator's own slowness.
PATIENCE_S = 5.0


def with_parity(text):
    return bytes(c | (c.bit_count() & 1) << 7 for c in text)


def line(connection, until):
    """The next line, without parity; `None` when it does not come in time."""
    heard = b""
    while not heard.endswith(b"\r\n"):
        left = until - time.monotonic()
        if left <= 0:
            return None
        connection.settimeout(left)
        try:
            octet = connection.recv(1)
        except TimeoutError:
            return None
        if not octet:
            raise ConnectionError("the meter closed the connection")
        if octet[0].bit_count() & 1:
            raise ValueError(f"odd parity: {octet.hex()} after {heard!r}")
        heard += bytes([octet[0] & 0x7F])
    return heard


def sign_on(connection, timeout):
    """Asks who is there, selects HDLC (`2`) at the rate the meter offers; gives what the meter called itself."""
    end = time.monotonic() + timeout
    named = None
    while named is None:
        if time.monotonic() > end:
            raise TimeoutError("the meter does not sign on")
        connection.sendall(with_parity(b"/?!\r\n"))
        named = line(connection, time.monotonic() + PATIENCE_S)
    # /XXX Z \2 identification
    if named[:1] != b"/" or named[5:7] != b"\\2":
        raise ValueError(f"no meter with mode E: {named!r}")
    selection = b"\x062" + named[4:5] + b"2\r\n"
    connection.sendall(with_parity(selection))
    repeated = line(connection, end)
    if repeated != selection:
        raise ValueError(f"selected {selection!r}, the meter said {repeated!r}")
    connection.settimeout(timeout)
    return named.decode("ascii")
