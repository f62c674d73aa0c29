#!/usr/bin/env python3
"""Prints what an ELF image takes: flash (code, constants, initial values of data) and static RAM (data, zeroed, uninitialised).

usage: image_size.py ELF [--flash-max BYTES] [--ram-max BYTES] [--stack BYTES]

Sections are sorted by address, not by name: allocated below 0x2000_0000 is flash, 0x2000_0000 to 0x20ff_ffff is RAM,
and .data counts in both. Memory at 0x2100_0000 stands for external non-volatile memory and is printed apart.
--stack adds a measured worst case to RAM. Exits 1 when a maximum is exceeded.
"""
import argparse
import struct
import sys

SHF_ALLOC = 2
SHT_NOBITS = 8


def sections(elf: bytes):
    """Yields (name, type, flags, address, size) of a 32-bit little-endian ELF."""
    if elf[:6] != b"\x7fELF\x01\x01":
        sys.exit("image_size: not a 32-bit little-endian ELF file")
    (table,) = struct.unpack_from("<I", elf, 0x20)
    entry_size, count, names_index = struct.unpack_from("<HHH", elf, 0x2E)
    headers = [struct.unpack_from("<10I", elf, table + i * entry_size) for i in range(count)]
    names = headers[names_index][4]
    for name, kind, flags, address, _offset, size, *_ in headers:
        start = names + name
        yield elf[start:elf.index(b"\0", start)].decode(), kind, flags, address, size


def bar(size: int, most: int | None) -> str:
    return f"{size}" if most is None else f"{size} of {most}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("elf")
    parser.add_argument("--flash-max", type=int)
    parser.add_argument("--ram-max", type=int)
    parser.add_argument("--stack", type=int, default=0)
    args = parser.parse_args()
    flash = ram = external = 0
    with open(args.elf, "rb") as file:
        image = file.read()
    for name, kind, flags, address, size in sections(image):
        if not flags & SHF_ALLOC or size == 0:
            continue
        if address < 0x2000_0000:
            flash += size
        elif address < 0x2100_0000:
            ram += size
            flash += size if kind != SHT_NOBITS else 0
        else:
            external += size
        print(f"  {name:<16} {address:#010x} {size:>8}")
    stack = f"{args.stack} deepest stack" if args.stack else "stack not measured"
    print(f"flash {bar(flash, args.flash_max)} bytes; RAM {bar(ram + args.stack, args.ram_max)} bytes: {ram} static, {stack}"
          + (f"; external memory {external}" if external else ""))
    ok = True
    if args.flash_max is not None and flash > args.flash_max:
        print(f"flash is {flash - args.flash_max} bytes above {args.flash_max}")
        ok = False
    if args.ram_max is not None and ram + args.stack > args.ram_max:
        print(f"RAM is {ram + args.stack - args.ram_max} bytes above {args.ram_max}")
        ok = False
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
