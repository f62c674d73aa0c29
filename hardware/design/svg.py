"""Draws sheets as SVG, from the same places as kicad.py."""
from xml.sax.saxutils import escape

from drawing import BODIES, HALF, flag_length, snapped

WIDTH = 317.5
STYLE = """svg{background:#fff;font-family:sans-serif}
.w{stroke:#0a6;stroke-width:.25;fill:none}.b{stroke:#800;stroke-width:.3;fill:none}.box{stroke:#800;stroke-width:.35;fill:#fffbe8}
.ref{font-size:2px;fill:#046;font-weight:bold}.val{font-size:1.9px;fill:#333}.pin{font-size:1.7px;fill:#046}.num{font-size:1.5px;fill:#555}
.net{font-size:1.8px;fill:#830}.flag{stroke:#830;stroke-width:.15;fill:#fff8f4}.note{font-size:2.4px;fill:#222}.title{font-size:5px;fill:#222}
.frame{stroke:#999;stroke-width:.3;fill:none}"""


def text(x, y, what, kind, anchor="middle", turn="") -> str:
    turned = f' transform="rotate({turn} {x:.2f} {y:.2f})"' if turn else ""
    return f'<text x="{x:.2f}" y="{y:.2f}" class="{kind}" text-anchor="{anchor}"{turned}>{escape(str(what))}</text>'


def line(points, kind) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.2f},{y:.2f}" for x, y in points)}"/>'


def flag(net, x, y, angle) -> str:
    """The label of a net: a flag that points at (x, y)."""
    length = flag_length(net)
    shape = [(0, 0), (1, -1.2), (length, -1.2), (length, 1.2), (1, 1.2)]
    sign = -1 if angle == 180 else 1
    if angle == 90:
        points = [(x + dy, y - dx) for dx, dy in shape]
        words = text(x + 0.65, y - 1.3, net, "net", "start", "-90")
    else:
        points = [(x + sign * dx, y + dy) for dx, dy in shape]
        words = text(x + sign * 1.3, y + 0.65, net, "net", "start" if sign > 0 else "end")
    return f'<polygon class="flag" points="{" ".join(f"{a:.2f},{b:.2f}" for a, b in points)}"/>{words}'


def chip(item) -> list:
    x, y = snapped(item.x), snapped(item.y)
    w, h = item.width / 2, item.height / 2
    out = [f'<rect class="box" x="{x - w:.2f}" y="{y - h:.2f}" width="{2 * w:.2f}" height="{2 * h:.2f}"/>',
           text(x, y - h - 0.9, item.ref, "ref"), text(x, y + h + 2.6, item.value, "val")]
    for label, name, net, side, px, py in item.pins():
        out.append(line([(x + side * w, y + py), (x + px, y + py)], "b"))
        out.append(text(x + side * (w - 0.8), y + py + 0.6, name, "pin", "end" if side > 0 else "start"))
        if label != name:
            out.append(text(x + side * (w + 1.3), y + py - 0.25, label, "num"))
        if net:
            out.append(flag(net, x + px, y + py, 0 if side > 0 else 180))
        else:
            out.append(line([(x + px - 0.6, y + py - 0.6), (x + px + 0.6, y + py + 0.6)], "b"))
            out.append(line([(x + px - 0.6, y + py + 0.6), (x + px + 0.6, y + py - 0.6)], "b"))
    return out


def chain(item) -> list:
    y = snapped(item.y)
    out = []
    for part, _, _, middle in item.parts():
        middle = snapped(middle)
        for shape in BODIES[part.kind]:
            if shape[0] == "line":
                out.append(line([(middle + a, y + b) for a, b in shape[1]], "b"))
            else:
                out.append(f'<circle class="b" cx="{middle + shape[1]:.2f}" cy="{y + shape[2]:.2f}" r="{shape[3]}"/>')
        for side in (-1, 1):
            out.append(line([(middle + side * 2.54, y), (middle + side * HALF, y)], "b"))
            out.append(line([(middle + side * HALF, y), (middle + side * 8.89, y)], "w"))
        out.append(text(middle, y - 3.2, part.ref, "ref"))
        out.append(text(middle, y + 4.4, part.value, "val"))
    for net, x, place in item.nodes():
        x = snapped(x)
        if net:
            out.append(flag(net, x, y, {-1: 180, 1: 0, 0: 90}[place]))
        if place == 0:
            out.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="0.5" fill="#0a6"/>')
    return out


def sheet(item, number: int, count: int) -> str:
    height = round(item.height, 2)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'width="1600" height="{height / WIDTH * 1600:.0f}">',
           f"<title>{escape(item.title)}</title><style>{STYLE}</style>",
           f'<rect class="frame" x="5" y="5" width="{WIDTH - 10}" height="{height - 10:.2f}"/>',
           text(12, 16, f"{number}/{count}  {item.title}", "title", "start"),
           text(WIDTH - 12, 16, "Reference meter. Never built, never measured, certified for nothing.", "note", "end")]
    for chip_item in item.chips():
        out += chip(chip_item)
    for chain_item in item.chains():
        out += chain(chain_item)
    out += [text(note.x, note.y, note.text, "note", "start") for note in item.notes()]
    return "\n".join(out) + "\n</svg>\n"
