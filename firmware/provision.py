#!/usr/bin/env python3
"""Makes the provisioning record of one meter, to be sent over its bench link.

usage: provision.py METER.ini RECORD        RECORD: file to write, or - for standard output

METER.ini is described by images/stm32f405/example.ini, the record by src/provisioning.rs. The record holds keys: write it
where nobody else reads it, and delete it when the meter has it. A file that is written gets the mode 0600.
"""
import configparser
import os
import struct
import sys
import zlib

ALGORITHMS = {"EA07": (7, 8), "EA11": (11, 16)}
FIELDS = {
    "manufacturer", "serial", "supply_group", "tariff_index", "key_revision", "base_date", "algorithm", "decoder_key",
    "encryption_key", "authentication_key", "master_key", "reader_password", "letters", "payment_mode", "control_mode",
    "return_automatically", "imports_only", "modbus_switches", "initial_credit_wh", "low_credit_wh",
    "utc_offset_minutes", "profile_period_s", "modbus_station", "signing_key",
}


def key(meter, name: str, length: int) -> bytes:
    try:
        value = bytes.fromhex(meter[name])
    except ValueError:
        sys.exit(f"provision: {name} is not hexadecimal")  # never the value itself
    if len(value) != length:
        sys.exit(f"provision: {name} has {len(value)} bytes; {length} are needed")
    return value


def record(meter) -> bytes:
    missing = FIELDS - set(meter)
    unknown = set(meter) - FIELDS
    if missing or unknown:
        sys.exit(f"provision: missing {sorted(missing)}, unknown {sorted(unknown)}")
    if meter["algorithm"] not in ALGORITHMS:
        sys.exit(f"provision: algorithm is one of {sorted(ALGORITHMS)}")
    algorithm, length = ALGORITHMS[meter["algorithm"]]
    password = meter["reader_password"].encode("ascii")
    if not 1 <= len(password) <= 16:
        sys.exit("provision: reader_password takes 1 to 16 characters")
    flags = sum(meter.getboolean(name) << bit for bit, name in
                enumerate(["return_automatically", "imports_only", "modbus_switches"]))
    try:
        body = b"MGWP" + struct.pack(
            "<HHIIBBBB16s16s16sB16s3sBBBBiihH16s64s",
            2, meter.getint("manufacturer"), meter.getint("serial"), meter.getint("supply_group"),
            meter.getint("tariff_index"), meter.getint("key_revision"), meter.getint("base_date") % 100, algorithm,
            key(meter, "decoder_key", length), key(meter, "encryption_key", 16), key(meter, "authentication_key", 16),
            len(password), password, meter["letters"].encode("ascii"),
            {"credit": 1, "prepayment": 2}[meter["payment_mode"]], meter.getint("control_mode"), flags,
            meter.getint("modbus_station"),
            meter.getint("initial_credit_wh"), meter.getint("low_credit_wh"), meter.getint("utc_offset_minutes"),
            meter.getint("profile_period_s"), key(meter, "master_key", 16),
            bytes(64) if meter["signing_key"] == "none" else key(meter, "signing_key", 64))
    except (struct.error, ValueError, KeyError) as error:
        sys.exit(f"provision: a number is out of its range: {error}")
    return body + struct.pack("<I", zlib.crc32(body))


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    parser = configparser.ConfigParser(interpolation=None)
    with open(sys.argv[1], encoding="utf-8") as file:
        parser.read_file(file)
    if "meter" not in parser:
        sys.exit("provision: no section [meter]")
    made = record(parser["meter"])
    if sys.argv[2] == "-":
        sys.stdout.buffer.write(made)
        return
    with open(os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(made)


if __name__ == "__main__":
    main()
