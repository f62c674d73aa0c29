#!/usr/bin/env python3
"""Writes what an ELF image puts into flash as a plain binary, from its lowest load address on.

usage: image_bin.py ELF BIN
"""
import struct
import sys

PT_LOAD = 1


def loaded(elf: bytes):
    """Yields (load address, bytes) of a 32-bit little-endian ELF's segments that have contents."""
    if elf[:6] != b"\x7fELF\x01\x01":
        sys.exit("image_bin: not a 32-bit little-endian ELF file")
    (table,) = struct.unpack_from("<I", elf, 0x1C)
    entry_size, count = struct.unpack_from("<HH", elf, 0x2A)
    for n in range(count):
        kind, offset, _virtual, address, size, *_ = struct.unpack_from("<8I", elf, table + n * entry_size)
        if kind == PT_LOAD and size:
            yield address, elf[offset:offset + size]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        segments = sorted(loaded(file.read()))
    start = segments[0][0]
    image = bytearray()
    for address, data in segments:
        at = address - start
        if at < len(image) or at > len(image) + 1024 * 1024:
            sys.exit(f"image_bin: segment at {address:#x} does not follow the one before")
        image.extend(b"\xff" * (at - len(image)) + data)
    with open(sys.argv[2], "wb") as file:
        file.write(image)
    print(f"{sys.argv[2]}: {len(image)} bytes from {start:#010x}")


if __name__ == "__main__":
    main()
