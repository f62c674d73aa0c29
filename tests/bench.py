"""Makes one table of what the benchmarks printed: python3 tests/bench.py [--partial] JSON-FILE LOG...

Each row: what, measured, unit, bar, and the ratio to the bar (above 1: better than the bar), and where the engines of
dlms-cosem-rs ran beside ours the ratio to them. Fails when a bar is missed, or a figure is missing (unless --partial).
"""

import json
import re
import sys

# The bar is the figure of 100 meters and a quarter more: what a meter costs does not grow with their number.
FLAT = "flat"


def daily(meters, field):
    # Fields of a JSON object in any order.
    return rf'(?=[^\n]*"bench":"daily_read")(?=[^\n]*"meters":{meters}\b)[^\n]*"{field}":(\d+)'


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
    ("daily read of 10,000 meters, 960,000 rows", daily(10_000, "ms"), "ms", True, 15_000),
    ("gateway's memory meanwhile, at most", daily(10_000, "peak_kb"), "KiB", True, 262_144),
    ("top-ups meanwhile, paid to read back, p95", daily(10_000, "top_up_p95_ms"), "ms", True, 2_000),
    ("daily read of 1,000 meters", daily(1_000, "ms"), "ms", True, None),
    ("gateway's processor time a meter, of 100", daily(100, "cpu_us_per_meter"), "us", True, None),
    ("gateway's processor time a meter, of 1,000", daily(1_000, "cpu_us_per_meter"), "us", True, None),
    ("gateway's processor time a meter, of 10,000", daily(10_000, "cpu_us_per_meter"), "us", True, FLAT),
    ("9,600 baud, DLMS over HDLC, of 10,000 of its rate", r'"dlms_hdlc_per_10000":(\d+)', "", False, 9_500),
    ("9,600 baud, Modbus RTU, of 10,000 of its rate", r'"modbus_rtu_per_10000":(\d+)', "", False, 9_500),
    ("durable vends", r'"bench":"vends".*"per_second":(\d+)|"per_second":(\d+).*"bench":"vends"', "/s", False, 5_000),
]


def ratio(better, than):
    return round(better / max(than, 1), 2)


def main():
    partial = sys.argv[1] == "--partial"
    out, *logs = sys.argv[2:] if partial else sys.argv[1:]
    text = "".join(open(log, encoding="utf-8", errors="replace").read() for log in logs)
    rows, missing = [], []
    for what, place, unit, less, bar in ROWS:
        found = re.search(place, text)
        if not found:
            missing.append(what)
            continue
        figures = [int(figure) for figure in found.groups() if figure]
        measured, theirs = figures[0], figures[1] if len(figures) > 1 else None
        if bar == FLAT:
            before = [row["measured"] for row in rows if "processor time" in row["what"]]
            bar = before[0] * 5 // 4 if before else None
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
    missed = [row["what"] for row in rows if row["ratio_to_bar"] and row["ratio_to_bar"] < 1]
    if missed:
        print(f"below the bar: {', '.join(missed)}")
    if missing and not partial:
        print(f"no figure for {', '.join(missing)}")
    sys.exit(1 if missed or (missing and not partial) else 0)


main()
