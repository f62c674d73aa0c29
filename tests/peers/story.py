"""What a foreign client does to a meter, whoever wrote the client.

A client is an object with these methods (see `gurux_client.py` for the first one):

    open(access)                 associate as 'public', 'reader', 'vending' or 'management'
    get(class_id, name, index)   one attribute, as plain Python values (int, bool, str, bytes, list)
    get_list([(class, name, index), ...])
    profile_by_entry(name, first, last)
    profile_by_range(name, start, end)   naive datetimes in the meter's local time
    action(class_id, name, index, value) value is an int (sent as integer) or bytes (sent as octet-string)
    close()

and a set `features` naming what the library can do at all. A refusal by the meter is raised as `Refused`.
"""

import datetime

LOGICAL_DEVICE_NAME = (1, "0.0.42.0.0.255", 2)
INVOCATION_COUNTER = (1, "0.0.43.1.0.255", 2)
CLOCK = (8, "0.0.1.0.0.255", 2)
ENERGY = (3, "1.0.1.8.0.255", 2)
ENERGY_UNIT = (3, "1.0.1.8.0.255", 3)
PROFILE = "1.0.99.1.0.255"
OBJECT_LIST = (15, "0.0.40.0.0.255", 2)
RELAY = "0.0.96.3.10.255"
ACCOUNT = "0.0.19.0.0.255"
CREDIT = "0.0.19.10.0.255"
TOKEN_GATEWAY = "0.0.19.40.0.255"

WATT_HOUR = 30
PREPAYMENT = 2
EXECUTION_OK = 3
FAILURES = (4, 5, 6, 7)


class Refused(Exception):
    """The meter answered and said no."""


class Failed(Exception):
    """A step did not come out as it must."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def text(value):
    return value.decode("ascii") if isinstance(value, (bytes, bytearray)) else str(value)


def date_time(octets):
    """The 12 octets of a COSEM date-time as a naive local datetime."""
    octets = bytes(octets)
    check(len(octets) == 12, f"a date-time has 12 octets, got {len(octets)}")
    year = int.from_bytes(octets[0:2], "big")
    return datetime.datetime(year, octets[2], octets[3], octets[5], octets[6], octets[7])


def refused(call, what):
    try:
        value = call()
    except Refused as refusal:
        return str(refusal)
    raise Failed(f"{what} was allowed and gave {value!r}")


def public(client, _options):
    """Client 16 without security sees who the meter is and nothing that is private."""
    client.open("public")
    yield "logical device name", text(client.get(*LOGICAL_DEVICE_NAME))
    yield "clock", date_time(client.get(*CLOCK)).isoformat()
    counter = client.get(*INVOCATION_COUNTER)
    check(isinstance(counter, int) and counter >= 0, f"counter is {counter!r}")
    yield "invocation counter", counter
    yield "credit refused", refused(lambda: client.get(112, CREDIT, 2), "reading credit as public client")
    yield "disconnect refused", refused(lambda: client.action(70, RELAY, 1, 0), "disconnecting as public client")
    client.close()


def reader(client, options):
    """Client 17 with a password reads everything and changes nothing."""
    client.open("reader")
    yield "logical device name", text(client.get(*LOGICAL_DEVICE_NAME))
    energy = client.get(*ENERGY)
    scaler, unit = client.get(*ENERGY_UNIT)
    check(energy >= 0 and unit == WATT_HOUR, f"energy {energy!r}, scaler {scaler!r}, unit {unit!r}")
    yield "energy", energy * 10**scaler

    columns = client.get(7, PROFILE, 3)
    check(columns[0][0] == 8, f"the first captured object is the clock, got {columns[0]!r}")
    yield "profile columns", len(columns)
    rows = client.get(7, PROFILE, 2)
    check(len(rows) >= options.rows, f"at least {options.rows} profile rows, got {len(rows)}")
    check(all(len(row) == len(columns) for row in rows), "every row has one cell per column")
    stamps = [date_time(row[0]) for row in rows]
    check(stamps == sorted(stamps) and len(set(stamps)) == len(stamps), "profile rows ascend in time")
    yield "profile rows", len(rows)
    in_use = client.get(7, PROFILE, 7)
    check(in_use in (len(rows), len(rows) - 1, len(rows) + 1), f"entries in use {in_use}, rows {len(rows)}")
    if "entry" in client.features:
        some = client.profile_by_entry(PROFILE, 2, 4)
        check([bytes(r[0]) for r in some] == [bytes(r[0]) for r in rows[1:4]], "rows 2 to 4 by entry are rows 2 to 4")
        yield "profile by entry", len(some)
    if "range" in client.features:
        some = client.profile_by_range(PROFILE, stamps[1], stamps[3])
        check([date_time(r[0]) for r in some] == stamps[1:4], f"three rows by range, got {len(some)}")
        yield "profile by range", len(some)
    if "list" in client.features:
        name, clock, again = client.get_list([LOGICAL_DEVICE_NAME, CLOCK, ENERGY])
        check(text(name) == text(client.get(*LOGICAL_DEVICE_NAME)), "with-list gives the same name")
        check(again >= energy, "energy does not run backwards")
        yield "with-list", [text(name), date_time(clock).isoformat(), again]

    objects = {(item[0], bytes(item[2]).hex()) for item in client.get(*OBJECT_LIST)}
    for class_id, name in ((8, "0.0.1.0.0.255"), (3, "1.0.1.8.0.255"), (7, PROFILE), (70, RELAY)):
        wanted = (class_id, bytes(map(int, name.split("."))).hex())
        check(wanted in objects, f"object list has no {class_id} {name}")
    yield "object list", len(objects)
    yield "token refused", refused(lambda: client.action(115, TOKEN_GATEWAY, 1, b"0" * 20), "entering a token as reader")
    yield "disconnect refused", refused(lambda: client.action(70, RELAY, 1, 0), "disconnecting as reader")
    client.close()


def vending(client, options):
    """Client 18 with GMAC tops up: the token is taken once, and only once."""
    client.open("vending")
    account = client.get(111, ACCOUNT, 2)
    check(account[0] == PREPAYMENT, f"payment mode is prepayment, got {account!r}")
    yield "account", account
    before = client.get(112, CREDIT, 2)
    yield "credit before", before
    try:
        client.action(115, TOKEN_GATEWAY, 1, options.token.encode("ascii"))
    except Refused as refusal:
        raise Failed(f"the token was refused: {refusal}") from refusal
    status = client.get(115, TOKEN_GATEWAY, 6)
    check(status[0] == EXECUTION_OK, f"token status is 'execution OK' (3), got {status!r}")
    yield "token status", status[0]
    check(text(client.get(115, TOKEN_GATEWAY, 2)) == options.token, "attribute 2 holds the token just entered")
    after = client.get(112, CREDIT, 2)
    # The house keeps consuming while we look, so a little less than the token may arrive, never more.
    gain = after - before
    check(options.amount_wh - options.slack_wh <= gain <= options.amount_wh, f"credit rose by {gain} Wh for a token of {options.amount_wh} Wh")
    yield "credit after", after

    try:
        client.action(115, TOKEN_GATEWAY, 1, options.token.encode("ascii"))
    except Refused:
        pass
    status = client.get(115, TOKEN_GATEWAY, 6)
    check(status[0] in FAILURES, f"the same token again is refused, got status {status!r}")
    yield "same token again", status[0]
    check(client.get(112, CREDIT, 2) <= after, "the same token again brought no credit")
    client.close()


def management(client, options):
    """Client 1 with GMAC opens and closes the relay and reads both states back."""
    client.open("management")
    client.action(70, RELAY, 1, 0)
    output, control = client.get(70, RELAY, 2), client.get(70, RELAY, 3)
    check(output is False and control == 0, f"disconnected: output False, control 0; got {output!r}, {control!r}")
    yield "disconnected", [output, control]
    client.action(70, RELAY, 2, 0)
    output, control = client.get(70, RELAY, 2), client.get(70, RELAY, 3)
    if options.arms:
        check(output is False and control == 2, f"armed: output False, control 2; got {output!r}, {control!r}")
    else:
        check(output is True and control == 1, f"connected: output True, control 1; got {output!r}, {control!r}")
    yield "reconnected", [output, control]
    client.close()


STORIES = {"public": public, "reader": reader, "vending": vending, "management": management}
