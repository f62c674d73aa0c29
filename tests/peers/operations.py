"""The operations of the interop matrix: each does one thing over an open association and checks what came of it."""

import datetime

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

__all__ = ["OPERATIONS", "NotOffered", "Refused"]
