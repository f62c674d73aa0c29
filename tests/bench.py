"""Makes one table of what the benchmarks printed: python3 tests/bench.py PROTOCOL-LOG GATEWAY-LOG JSON-FILE

Each row: what, measured, unit, bar, and the ratio to the bar (above 1: better than the bar), and where the engines of
dlms-cosem-rs ran beside ours the ratio to them. Fails when a benchmark's figure is missing.
"""

import json
import re
import sys

# What, its place in the text, unit, whether less is better, bar.
ROWS = [
    ("GET in memory, plain", r"GET plain +(\d+) ns +dlms-cosem-rs +(\d+) ns", "ns", True, 400),
    ("GET in memory, ciphered", r"GET ciphered +(\d+) ns +dlms-cosem-rs +(\d+) ns", "ns", True, 1500),
    ("GET/s on one association over loopback, plain", r"GET/s over loopback, plain +(\d+) +dlms-cosem-rs +(\d+)", "/s", False, 30_000),
    ("GET/s on one association over loopback, ciphered", r"GET/s over loopback, ciphered +(\d+) +dlms-cosem-rs +(\d+)", "/s", False, 30_000),
    ("round trips/s of sockets and framing alone", r"sockets and the framing alone +(\d+)", "/s", False, None),
    ("GMAC session in memory, with one GET", r"GMAC session with one GET +(\d+) ns", "ns", True, None),
    ("walk over an 81-node telegram", r"81-node telegram: (\d+) ns, the codec's tree (\d+) ns", "ns", True, 1000),
    ("EA11 token encode", r"EA11\D* encode (\d+) tokens/s", "/s", False, 500_000),
    ("EA11 token decode", r"EA11\D* encode \d+ tokens/s, decode (\d+)", "/s", False, 500_000),
    ("EA07 token encode", r"EA07\D* encode (\d+) tokens/s", "/s", False, None),
    ("EA07 token decode", r"EA07\D* encode \d+ tokens/s, decode (\d+)", "/s", False, None),
    ("one reading of 1,000 meters over loopback, first", r'"first_ms":(\d+)', "ms", True, 1500),
    ("one reading of 1,000 meters over loopback, again", r'"again_ms":(\d+)', "ms", True, 1500),
    ("GMAC sessions with a reading, sustained", r'"sessions_per_second":(\d+)', "/s", False, 5_000),
    ("Modbus points, dense map", r'"map":"dense".*?"points_per_second":(\d+)', "/s", False, 100_000),
    ("Modbus points, sparse map", r'"map":"sparse".*?"points_per_second":(\d+)', "/s", False, 100_000),
    ("Modbus points, sparse map, one request each", r'"map":"sparse".*?"one_by_one_points_per_second":(\d+)', "/s", False, None),
    ("durable vends", r'"bench":"vends".*"per_second":(\d+)|"per_second":(\d+).*"bench":"vends"', "/s", False, 5_000),
]


def ratio(better, than):
    return round(better / max(than, 1), 2)


def main():
    protocol, gateway, out = sys.argv[1:]
    text = "".join(open(log, encoding="utf-8", errors="replace").read() for log in (protocol, gateway))
    rows, missing = [], []
    for what, place, unit, less, bar in ROWS:
        found = re.search(place, text)
        if not found:
            missing.append(what)
            continue
        figures = [int(figure) for figure in found.groups() if figure]
        measured, theirs = figures[0], figures[1] if len(figures) > 1 else None
        row = {"what": what, "measured": measured, "unit": unit, "bar": bar, "dlms_cosem_rs": theirs}
        row["ratio_to_bar"] = bar and (ratio(bar, measured) if less else ratio(measured, bar))
        row["ratio_to_dlms_cosem_rs"] = theirs and (ratio(theirs, measured) if less else ratio(measured, theirs))
        rows.append(row)
    print(f"\n{'what':<52} {'measured':>13} {'bar':>13} {'ratio':>7} {'dlms-cosem-rs':>14} {'ratio':>7}")
    for row in rows:
        shown = [f"{row[key]:,} {row['unit']}" if row[key] else "-" for key in ("measured", "bar", "dlms_cosem_rs")]
        ratios = [f"{row[key]:.2f}" if row[key] else "-" for key in ("ratio_to_bar", "ratio_to_dlms_cosem_rs")]
        print(f"{row['what']:<52} {shown[0]:>13} {shown[1]:>13} {ratios[0]:>7} {shown[2]:>14} {ratios[1]:>7}")
    with open(out, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
    print(f"\nas JSON: {out}")
    if missing:
        sys.exit(f"bench.py: no figure for {', '.join(missing)}")


main()
