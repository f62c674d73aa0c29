#!/usr/bin/env python3
"""Makes the schematic (KiCad), its drawings (SVG) and the bill of materials of circuit.py.

usage: generate.py            writes schematic/*.kicad_sch, schematic/*.svg, cabinet.svg and bom.csv beside this file
       generate.py --check    writes nothing; fails when what is there differs from what would be written
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cabinet
import kicad
import svg
from circuit import HERE, STOCK, sheets


def sorted_refs(refs):
    return sorted(refs, key=lambda ref: (re.match(r"[A-Z]+", ref)[0], int(re.search(r"\d+$", ref)[0])))


def bom(all_sheets) -> str:
    """One line for each part number and value."""
    groups = {}
    for sheet in all_sheets:
        for ref, value, stock, _pins in sheet.parts():
            groups.setdefault((stock, value), []).append(ref)
    unused = set(STOCK) - {stock for stock, _ in groups}
    if unused:
        sys.exit(f"generate: in STOCK but nowhere used: {sorted(unused)}")
    lines = ["references,quantity,value,description,manufacturer,part_number,package"]
    for (stock, value), refs in sorted(groups.items(), key=lambda item: sorted_refs(item[1])[0]):
        refs = sorted_refs(refs)
        cells = [" ".join(refs), str(len(refs)), value, *STOCK[stock]]
        lines.append(",".join(f'"{cell}"' if "," in cell else cell for cell in cells))
    return "\n".join(lines) + "\n"


def checked(all_sheets) -> None:
    """Every reference once; every net has two ends at least; test pads say so."""
    ends, seen = {}, set()
    for sheet in all_sheets:
        for ref, _value, _stock, pins in sheet.parts():
            if ref in seen:
                sys.exit(f"generate: {ref} twice")
            seen.add(ref)
            for pin, net in pins:
                if net:
                    ends.setdefault(net, []).append(f"{ref}.{pin}")
    lonely = {net: at for net, at in ends.items() if len(at) < 2 and net not in {"CF_TEST"}}
    if lonely:
        sys.exit(f"generate: nets with one end: {lonely}")


def main() -> None:
    all_sheets = sheets()
    checked(all_sheets)
    files = {"bom.csv": bom(all_sheets), "schematic/meter.kicad_sch": kicad.root(all_sheets)}
    files["cabinet.svg"] = cabinet.cabinet()
    for number, sheet in enumerate(all_sheets, 1):
        files[f"schematic/{sheet.name}.kicad_sch"] = kicad.sheet(sheet, number)
        files[f"schematic/{sheet.name}.svg"] = svg.sheet(sheet, number, len(all_sheets))
    if sys.argv[1:] == ["--check"]:
        for name, text in files.items():
            path = os.path.join(HERE, name)
            if not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
                sys.exit(f"generate: {name} is not what circuit.py says; run hardware/design/generate.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        os.makedirs(os.path.join(HERE, "schematic"), exist_ok=True)
        for name, text in files.items():
            with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
                file.write(text)


if __name__ == "__main__":
    main()
