#!/usr/bin/env python3
"""Says where the code of a Cortex-M ELF file can panic.

usage: findings.py ELF ALLOWED

The file is linked with --emit-relocs, so every call is a relocation, and with line tables. From the panic handler upwards: who
refers to it, who refers to those, as long as they are functions of `core`; the first line outside `core` is a finding.
ALLOWED has one place a line (CRATE/FILE:LINE), a blank, and the reason why it cannot happen. Exits 1 when there is another
place, when an allowed one is not there any more, or when there is nothing to judge by.
"""
import bisect
import re
import struct
import subprocess
import sys

HANDLER = "rust_begin_unwind"


class Elf:
    """Functions, and who refers to whom."""

    def __init__(self, path):
        self.path = path
        data = open(path, "rb").read()
        if data[:6] != b"\x7fELF\x01\x01":
            sys.exit("panic-check: not a 32-bit little-endian ELF file")
        (table,) = struct.unpack_from("<I", data, 0x20)
        size, count, _ = struct.unpack_from("<HHH", data, 0x2E)
        sections = [struct.unpack_from("<10I", data, table + i * size) for i in range(count)]
        self.symbols, self.functions = [], []
        for _, kind, _, _, offset, length, link, *_ in sections:
            if kind != 2:  # SHT_SYMTAB
                continue
            strings = sections[link][4]
            for at in range(offset, offset + length, 16):
                name, value, extent, info, _, _ = struct.unpack_from("<IIIBBH", data, at)
                text = data[strings + name : data.index(b"\0", strings + name)].decode()
                self.symbols.append(text)
                if info & 15 == 2:  # STT_FUNC; the lowest bit says Thumb
                    self.functions.append((value & ~1, extent, text))
        self.functions.sort()
        self.starts = [start for start, _, _ in self.functions]
        self.references = {}
        for _, kind, _, _, offset, length, *_ in sections:
            if kind != 9:  # SHT_REL
                continue
            for at in range(offset, offset + length, 8):
                address, info = struct.unpack_from("<II", data, at)
                self.references.setdefault(self.symbols[info >> 8], set()).add(address)

    def function_at(self, address):
        i = bisect.bisect_right(self.starts, address) - 1
        if i < 0 or address >= self.functions[i][0] + self.functions[i][1]:
            return None
        return self.functions[i][2]

    def lines(self, addresses):
        """The source lines of each address, the innermost first."""
        out, address = {}, None
        if not addresses:
            return out
        command = ["addr2line", "-a", "-i", "-e", self.path] + [hex(a) for a in addresses]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            if line.startswith("0x"):
                address = int(line, 16)
                out[address] = []
            else:
                out[address].append(line)
        return out


def place(line):
    """CRATE/FILE:LINE, without the machine's directories and the crate's version; None inside `core`."""
    line = line.split(" (")[0]
    if "/library/core/" in line:
        return None
    line = re.sub(r"^.*/registry/src/[^/]+/", "", line)
    line = re.sub(r"^([a-z0-9_-]+?)-\d[^/]*/src/", r"\1/", line)
    return re.sub(r"^.*/(protocol|panic-check)/src/", r"\1/", line)


def main():
    elf = Elf(sys.argv[1])
    allowed = {}
    for line in open(sys.argv[2], encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            where, _, reason = line.strip().partition(" ")
            allowed[where] = reason
    if len(elf.functions) < 100:
        sys.exit("panic-check: no functions to judge by")
    # Symbols of `core::panicking` count too: the handler may have been inlined into them.
    panicking = [name for name in elf.references if HANDLER in name or "4core9panicking" in name]
    findings, seen, waiting = {}, set(), panicking
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        addresses = [a for a in elf.references.get(name, ()) if elf.function_at(a)]
        for address, lines in elf.lines(addresses).items():
            outside = next((p for p in map(place, lines) if p), None)
            if outside:
                findings.setdefault(outside, set()).add(elf.function_at(address))
            else:
                waiting.append(elf.function_at(address))
    wrong = 0
    for where, functions in sorted(findings.items()):
        if where not in allowed:
            wrong += 1
            print(f"can panic: {where}\n    in {', '.join(sorted(functions))}")
    for where in sorted(set(allowed) - set(findings)):
        wrong += 1
        print(f"allowed without need: {where}")
    print(f"{len(elf.functions)} functions; {len(findings)} places can panic, {len(findings.keys() & allowed.keys())} of them allowed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
