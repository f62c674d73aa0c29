"""The operations of the interop matrix: each does one thing over an open association and checks what came of it."""

import dataclasses
import datetime

import settings
from story import CLOCK, CREDIT, ENERGY, EXECUTION_OK, LOGICAL_DEVICE_NAME, PROFILE, RELAY, TOKEN_GATEWAY
from story import Refused, check, date_time, text

NOTE = (1, "0.0.96.99.1.255", 2)
# Longer than any APDU of the meter.
LONG_NOTE = bytes(range(256)) * 9
# What a house may consume meanwhile.
SLACK_WH = 50


class NotOffered(Exception):
    """The library has no way to do this."""


def needs(client, feature):
    if feature not in client.features:
        raise NotOffered(feature)


def get(client, _plan, _way):
    check(text(client.get(*LOGICAL_DEVICE_NAME)).startswith("MGW"), "the logical device name is the meter's")


def get_list(client, _plan, _way):
    needs(client, "list")
    name, clock, energy = client.get_list([LOGICAL_DEVICE_NAME, CLOCK, ENERGY])
    check(text(name).startswith("MGW") and date_time(clock).year > 2000 and energy > 0, f"{name!r} {clock!r} {energy!r}")


def get_in_blocks(client, _plan, _way):
    """The object list: some three thousand bytes."""
    objects = client.get(15, "0.0.40.0.0.255", 2)
    names = {(item[0], bytes(item[2]).hex()) for item in objects}
    check((70, "000060030aff") in names and len(names) > 40, f"{len(names)} objects")


def set_short(client, _plan, way):
    needs(client, "set")
    wanted = bytes([way["sap"]]) * 8
    client.set(*NOTE, wanted)
    check(bytes(client.get(*NOTE)) == wanted, "what was written is read")


def set_in_blocks(client, _plan, _way):
    needs(client, "set in blocks")
    client.set(*NOTE, LONG_NOTE)
    check(bytes(client.get(*NOTE)) == LONG_NOTE, "what was written in blocks is read in blocks")


def action(client, _plan, _way):
    """Captures a row of the load profile."""
    before = client.get(7, PROFILE, 7)
    client.action(7, PROFILE, 2, 0)
    after = client.get(7, PROFILE, 7)
    check(after == before + 1, f"{before} rows, then {after}")


def by_entry(client, _plan, _way):
    needs(client, "entry")
    rows = client.profile_by_entry(PROFILE, 11, 14)
    again = client.profile_by_entry(PROFILE, 12, 12)
    check(len(rows) == 4 and rows[1] == again[0], f"rows 11 to 14: {len(rows)}, row 12: {len(again)}")


def by_range(client, plan, way):
    needs(client, "range")
    # A whole hour of quarters, a day ago.
    now = date_time(client.get(*CLOCK))
    hour = (now - datetime.timedelta(days=1)).replace(minute=0, second=0, microsecond=0)
    rows = client.profile_by_range(PROFILE, hour, hour + datetime.timedelta(hours=1))
    stamps = [date_time(row[0]) for row in rows]
    check(4 <= len(rows) <= 5 and all(hour <= at <= hour + datetime.timedelta(hours=1) for at in stamps), f"{stamps}")


def token_entry(client, plan, way):
    before = client.get(112, CREDIT, 2)
    client.action(115, TOKEN_GATEWAY, 1, way["token"].encode("ascii"))
    status = client.get(115, TOKEN_GATEWAY, 6)
    check(status[0] == EXECUTION_OK, f"token status is 'execution OK' (3), got {status!r}")
    gain = client.get(112, CREDIT, 2) - before
    check(plan["worth_wh"] - SLACK_WH <= gain <= plan["worth_wh"], f"credit rose by {gain} Wh")


def disconnect(client, _plan, _way):
    """Opens the relay and closes it again."""
    for method, closed in ((1, False), (2, True)):
        client.action(70, RELAY, method, 0)
        seen = client.get(70, RELAY, 2), client.get(70, RELAY, 3)
        check(seen == (closed, int(closed)), f"method {method}: output and control state {seen!r}")


def many_rows(client, plan, _way):
    rows = client.get(7, PROFILE, 2)
    check(len(rows) >= plan["rows"], f"{len(rows)} rows")
    stamps = [bytes(row[0]) for row in rows]
    # Captured by hand between two quarters, so not all a quarter apart.
    check(all(a[:4] + a[5:8] <= b[:4] + b[5:8] for a, b in zip(stamps, stamps[1:])), "rows ascend in time")


def general_blocks(client, plan, way):
    """A thousand rows, some thirty thousand bytes, in an association whose only blocks are general ones."""
    needs(client, "general blocks")
    client.associate(dataclasses.replace(settings_way(way), general_blocks=True))
    rows = client.profile_by_entry(PROFILE, 1, 1000)
    check(len(rows) == 1000, f"{len(rows)} rows")
    check(rows[11] == client.profile_by_entry(PROFILE, 12, 12)[0], "row 12 is row 12")
    client.close()


def exception(client, _plan, way):
    """An APDU that the meter refuses with an exception-response, which the library has to report: a counter that was used
    before, or a service without an association."""
    needs(client, "exception")
    way = settings_way(way)
    seen = client.used_counter(way) if way.ciphered else client.no_association(way)
    check(seen[:2] == ((1, 6) if way.ciphered else (1, 1)), f"state and service error {seen}")
    # The counter that the meter expects, where the library passes it on.
    check(not way.ciphered or seen[2] is None or seen[2] > 1, f"expected counter {seen}")


def pre_established(client, plan, way):
    """Reads and writes without an AARQ."""
    needs(client, "pre-established")
    way = dataclasses.replace(settings_way(way), sap=settings.PRE_ESTABLISHED[way["protection"] != "plain"])
    client.pre_established(way, bytes.fromhex(plan["system_title_hex"]))
    check(text(client.get(*LOGICAL_DEVICE_NAME)).startswith("MGW"), "the logical device name is the meter's")
    wanted = b"no AARQ" + bytes([way.sap])
    client.set(*NOTE, wanted)
    check(bytes(client.get(*NOTE)) == wanted, "what was written is read")


def push_confirmed(client, _plan, _way):
    """No library that we know of has the APDU that confirms a DataNotification."""
    needs(client, "data-notification-confirm")


def settings_way(way):
    return settings.Way(way["sap"], way["mechanism"], way["protection"], way["suite"])


# With an association of their own, or none.
ASIDE = {
    "general blocks": general_blocks,
    "exception": exception,
    "pre-established": pre_established,
    "push, confirmed": push_confirmed,
}

OPERATIONS = {
    "GET": get,
    "GET with-list": get_list,
    "GET in blocks": get_in_blocks,
    "SET": set_short,
    "SET in blocks": set_in_blocks,
    "ACTION": action,
    "by entry": by_entry,
    "by range": by_range,
    "token entry": token_entry,
    "disconnect": disconnect,
    "10,000 rows": many_rows,
}

__all__ = ["ASIDE", "OPERATIONS", "NotOffered", "Refused", "needs", "settings_way"]
