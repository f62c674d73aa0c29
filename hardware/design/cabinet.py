"""Draws the wiring of the substation cabinet: gateway, power, two RS-485 lines. The text is in cabinet.md."""
from xml.sax.saxutils import escape

STYLE = """svg{background:#fff;font-family:sans-serif}text{font-size:13px;fill:#222}.h{font-size:22px}.s{font-size:11px;fill:#555}
.box{fill:#fffbe8;stroke:#800;stroke-width:1.5}.out{fill:none;stroke:#999;stroke-width:1.5;stroke-dasharray:7 5}
.w{stroke:#0a6;stroke-width:2;fill:none}.p{stroke:#c30;stroke-width:2;fill:none}.e{stroke:#3a3;stroke-width:2;fill:none;stroke-dasharray:5 3}
.n{stroke:#06c;stroke-width:2;fill:none}"""


def text(x, y, words, kind="", anchor="middle") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x, y, w, h, *lines) -> str:
    first = y + h / 2 - 8 * (len(lines) - 1) + 4
    words = "".join(text(x + w / 2, first + 17 * n, words, "" if n == 0 else "s") for n, words in enumerate(lines))
    return f'<rect class="box" x="{x}" y="{y}" width="{w}" height="{h}"/>{words}'


def wire(kind, *points) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>'


def resistor(x, y, value) -> str:
    """Upright, 40 high, its ends at (x, y) and (x, y + 40)."""
    return (wire("w", (x, y), (x, y + 8)) + f'<rect class="box" x="{x - 6}" y="{y + 8}" width="12" height="24"/>'
            + wire("w", (x, y + 32), (x, y + 40)) + text(x + 11, y + 25, value, "s", "start"))


def line(y, name, first, last) -> list:
    """One RS-485 line from the gateway's port to its far end."""
    a, b, c = y, y + 40, y + 105
    out = [text(490, a - 76, name, "", "start"),
           resistor(520, a - 40, "560 to 0 V"), text(520, a - 46, "0 V", "s"), resistor(600, b, "560 to 5 V"), text(600, b + 54, "5 V", "s"),
           resistor(690, a, "120")]
    for at, wire_name in ((a, "A (-)"), (b, "B (+)"), (c, "C")):
        out.append(wire("w" if wire_name != "C" else "p", (440, at), (1290, at)))
        out.append(text(446, at - 5, wire_name, "s", "start"))
    for n, label in enumerate([first, "to", last]):
        x = 830 + 160 * n
        if label == "to":
            out.append(text(x + 60, b - 14, ". . .   at most 32 stations   . . .", "s"))
            continue
        out.append(wire("w", (x + 25, a), (x + 25, y + 130)))
        out.append(wire("w", (x + 50, b), (x + 50, y + 130)))
        out.append(wire("p", (x + 75, c), (x + 75, y + 130)))
        out.append(box(x, y + 130, 100, 44, label, "A  B  C"))
    out.append(resistor(1290, a, "120"))
    return out


def cabinet() -> str:
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1400 860" width="1400" height="860">',
           f"<title>Substation cabinet</title><style>{STYLE}</style>",
           text(30, 38, "Wiring of the substation cabinet", "h", "start"),
           text(1370, 38, "Never built. Values and why: cabinet.md", "s", "end"),
           '<rect class="out" x="20" y="60" width="740" height="770"/>', text(34, 820, "cabinet", "s", "start"),
           box(50, 90, 110, 46, "230 V", "auxiliary supply"), wire("p", (160, 113), (190, 113)),
           box(190, 90, 110, 46, "C 6 A", "circuit breaker"), wire("p", (300, 113), (330, 113)),
           box(330, 90, 110, 46, "Type 2 arrester", "Up < 1.5 kV"), wire("p", (385, 136), (385, 170)),
           box(330, 170, 110, 46, "24 V DC, 2.5 A", "rail supply"), wire("p", (330, 193), (300, 193)),
           box(190, 170, 110, 46, "24 V 7 Ah", "buffer, 16 h"), wire("p", (245, 216), (245, 270)),
           box(150, 270, 290, 500, "Gateway", "meter-gateway run", "COM1  RS-485, isolated", "COM2  RS-485, isolated", "LAN1  feeder meter", "LAN2  utility"),
           wire("n", (150, 330), (60, 330)), box(40, 306, 90, 46, "LAN2", "modem"), wire("n", (150, 430), (130, 430)),
           box(40, 406, 90, 46, "LAN1", "feeder meter"),
           wire("e", (385, 90), (385, 72), (700, 72), (700, 130)), wire("e", (440, 193), (700, 193), (700, 176)),
           box(640, 130, 110, 46, "Earth bar", "screens, 0 V of 24 V")]
    out += line(380, "Line 1: DLMS over HDLC, 9,600 8N1. Screened, 2 + 1 wires, at most 1,200 m", "Meter 1", "Meter n")
    out += line(640, "Line 2: Modbus RTU, 9,600 8N1", "Meter 1", "Meter n")
    return "\n".join(out) + "\n</svg>\n"
