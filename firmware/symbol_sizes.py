#!/usr/bin/env python3
"""Sums the sizes of an ELF's symbols whose mangled name holds a text: what one module takes in an image.

usage: symbol_sizes.py ELF TEXT

Code that was inlined into its callers counts as theirs, and constants without a symbol as nobody's.
"""
import struct
import sys

SHT_SYMTAB = 2
STT_OBJECT, STT_FUNC = 1, 2


def symbols(elf: bytes):
    """Yields (name, kind, address, size) of a 32-bit little-endian ELF."""
    if elf[:6] != b"\x7fELF\x01\x01":
        sys.exit("symbol_sizes: not a 32-bit little-endian ELF file")
    (table,) = struct.unpack_from("<I", elf, 0x20)
    entry_size, count, _ = struct.unpack_from("<HHH", elf, 0x2E)
    headers = [struct.unpack_from("<10I", elf, table + i * entry_size) for i in range(count)]
    for _, kind, _, _, offset, size, link, _, _, each in headers:
        if kind != SHT_SYMTAB:
            continue
        names = headers[link][4]
        for at in range(offset, offset + size, each):
            name, address, length, info, _, _ = struct.unpack_from("<IIIBBH", elf, at)
            start = names + name
            yield elf[start:elf.index(b"\0", start)].decode(), info & 15, address, length


def main() -> int:
    path, text = sys.argv[1:]
    with open(path, "rb") as file:
        elf = file.read()
    seen = {}
    for name, kind, address, size in symbols(elf):
        if text in name and kind in (STT_OBJECT, STT_FUNC) and size and address < 0x2000_0000:
            seen[address] = (size, kind, name)
    code = sum(size for size, kind, _ in seen.values() if kind == STT_FUNC)
    tables = sum(size for size, kind, _ in seen.values() if kind == STT_OBJECT)
    for size, kind, name in sorted(seen.values(), reverse=True)[:8]:
        print(f"  {size:>6} {name}")
    print(f"flash of {text}: {code} bytes of code, {tables} bytes of tables, {len(seen)} symbols")
    return 0 if seen else 1


if __name__ == "__main__":
    sys.exit(main())
