"""What a schematic sheet is drawn from: parts with their symbols, nets by name. Lengths are millimetres on KiCad's grid of 1.27.

Two ways to place parts:
- `Chip`: a box with named pins left and right, each with the label of its net.
- `Chain`: two-terminal parts in a row, with the net's label at each node.
Nets meet by their names (global labels), on one sheet and across sheets.
"""
from dataclasses import dataclass, field

GRID = 1.27
PIN = 2.54          # length of a pin
PITCH = 17.78       # from node to node of a chain
HALF = 5.08         # from the middle of a two-terminal symbol to its connection points
MARGIN = 12.7       # of a sheet
ROW = 292.1         # width of a row of parts
GAP = 7.62          # between parts of a row, and between rows

# Bodies of the two-terminal symbols, pins at (-HALF, 0) and (HALF, 0), y downwards. ("line", points) or ("circle", x, y, r).
BODIES = {
    "R": [("line", [(-2.54, -1.016), (2.54, -1.016), (2.54, 1.016), (-2.54, 1.016), (-2.54, -1.016)])],
    "C": [("line", [(-2.54, 0), (-0.508, 0)]), ("line", [(-0.508, -2.032), (-0.508, 2.032)]),
          ("line", [(0.508, -2.032), (0.508, 2.032)]), ("line", [(0.508, 0), (2.54, 0)])],
    "CP": [("line", [(-2.54, 0), (-0.508, 0)]), ("line", [(-0.508, -2.032), (-0.508, 2.032)]),
           ("line", [(1.27, -2.032), (0.508, -0.762), (0.508, 0.762), (1.27, 2.032)]), ("line", [(0.508, 0), (2.54, 0)]),
           ("line", [(-2.032, -1.27), (-1.016, -1.27)]), ("line", [(-1.524, -1.778), (-1.524, -0.762)])],
    "L": [("line", [(-2.54, 0), (-2.54, -1.016), (-1.27, -1.016), (-1.27, 0), (-1.27, -1.016), (0, -1.016), (0, 0),
                    (0, -1.016), (1.27, -1.016), (1.27, 0), (1.27, -1.016), (2.54, -1.016), (2.54, 0)])],
    "D": [("line", [(-2.54, 0), (-1.27, 0)]), ("line", [(-1.27, -1.27), (-1.27, 1.27), (1.27, 0), (-1.27, -1.27)]),
          ("line", [(1.27, -1.27), (1.27, 1.27)]), ("line", [(1.27, 0), (2.54, 0)])],
    "TVS": [("line", [(-2.54, 0), (-1.27, 0)]), ("line", [(-1.27, -1.27), (-1.27, 1.27), (1.27, 0), (-1.27, -1.27)]),
            ("line", [(0.762, -1.778), (1.27, -1.27), (1.27, 1.27), (1.778, 1.778)]), ("line", [(1.27, 0), (2.54, 0)])],
    "LED": [("line", [(-2.54, 0), (-1.27, 0)]), ("line", [(-1.27, -1.27), (-1.27, 1.27), (1.27, 0), (-1.27, -1.27)]),
            ("line", [(1.27, -1.27), (1.27, 1.27)]), ("line", [(1.27, 0), (2.54, 0)]),
            ("line", [(0, -1.778), (1.016, -2.794)]), ("line", [(1.016, -1.778), (2.032, -2.794)])],
    "F": [("line", [(-2.54, -0.762), (2.54, -0.762), (2.54, 0.762), (-2.54, 0.762), (-2.54, -0.762)]),
          ("line", [(-2.54, 0), (2.54, 0)])],
    "RV": [("line", [(-2.54, -1.016), (2.54, -1.016), (2.54, 1.016), (-2.54, 1.016), (-2.54, -1.016)]),
           ("line", [(-2.032, 2.032), (-1.016, 2.032), (1.524, -2.032)])],
    "X": [("line", [(-2.54, 0), (-1.524, 0)]), ("line", [(-1.524, -1.27), (-1.524, 1.27)]),
          ("line", [(-0.762, -1.524), (0.762, -1.524), (0.762, 1.524), (-0.762, 1.524), (-0.762, -1.524)]),
          ("line", [(1.524, -1.27), (1.524, 1.27)]), ("line", [(1.524, 0), (2.54, 0)])],
    "SW": [("line", [(-2.54, 0), (-1.778, 0)]), ("circle", -1.27, 0, 0.508), ("line", [(-1.016, -0.508), (1.524, -1.524)]),
           ("circle", 1.27, 0, 0.508), ("line", [(1.778, 0), (2.54, 0)])],
    "BT": [("line", [(-2.54, 0), (-0.508, 0)]), ("line", [(-0.508, -2.032), (-0.508, 2.032)]),
           ("line", [(0.508, -1.016), (0.508, 1.016)]), ("line", [(0.508, 0), (2.54, 0)])],
    "NT": [("line", [(-2.54, 0), (2.54, 0)]), ("circle", 0, 0, 0.762)],
}


def flag_length(net) -> float:
    """Of the label of a net."""
    return 1.28 * len(net) + 2.4 if net else 0


@dataclass
class Part:
    """A part of the bill of materials. `stock` is its line there."""
    ref: str
    kind: str
    value: str
    stock: str


@dataclass
class Chip:
    """A box. Pins are (number, name, net); the number is the name where no footprint is assigned; net None is not connected."""
    ref: str
    value: str
    stock: str
    left: list
    right: list
    width: float = 25.4
    x: float = 0
    y: float = 0

    @property
    def height(self) -> float:
        return 2.54 * (max(len(self.left), len(self.right)) + 1)

    def extents(self):
        """How far it reaches left, right, up and down of its middle, labels included."""
        sides = [max((flag_length(net) for _, _, net in pins if net), default=0) for pins in (self.left, self.right)]
        return (self.width / 2 + PIN + sides[0], self.width / 2 + PIN + sides[1], self.height / 2 + 3, self.height / 2 + 4)

    def pins(self):
        """Yields (number, name, net, side, x, y) with x, y of the connection point from the box's middle."""
        top = -self.height / 2
        for side, pins in ((-1, self.left), (1, self.right)):
            for n, (number, name, net) in enumerate(pins):
                yield number, name, net, side, side * (self.width / 2 + PIN), top + 2.54 * (n + 1)


@dataclass
class Chain:
    """Two-terminal parts in a row: net, part, net, part, ..., net. A net None has no label."""
    items: list
    x: float = 0
    y: float = 0

    def extents(self):
        """As a chip's, from its left end."""
        nets = self.items[0::2]
        up = max((flag_length(net) for net in nets[1:-1] if net), default=4)
        return (flag_length(nets[0]), PITCH * (len(nets) - 1) + flag_length(nets[-1]), max(up, 5.5), 5)

    def parts(self):
        """Yields (part, left net, right net, x of the middle); a part's left terminal is 1."""
        for n, part in enumerate(self.items[1::2]):
            yield part, self.items[2 * n], self.items[2 * n + 2], self.x + PITCH * n + PITCH / 2

    def nodes(self):
        """Yields (net, x, place) with place -1 at the left end, 1 at the right end, 0 between."""
        nets = self.items[0::2]
        for n, net in enumerate(nets):
            yield net, self.x + PITCH * n, -1 if n == 0 else 1 if n == len(nets) - 1 else 0


@dataclass
class Note:
    """Text on the sheet, in a row of its own."""
    text: str
    x: float = 0
    y: float = 0


@dataclass
class Sheet:
    """One sheet of the schematic."""
    name: str
    title: str
    items: list = field(default_factory=list)

    def laid_out(self):
        """Gives everything its place, in rows from the left and from the top; returns the height used."""
        top, row = 30.48, []

        def close(top):
            if not row:
                return top
            up = max(item.extents()[2] for item in row)
            for item in row:
                item.y = snapped(top + up)
            down = max(item.extents()[3] for item in row)
            row.clear()
            return top + up + down + GAP

        cursor = MARGIN
        for item in self.items:
            if isinstance(item, Note):
                top, cursor = close(top), MARGIN
                item.x, item.y = MARGIN, top
                top += GAP
                continue
            left, right, *_ = item.extents()
            if row and cursor + left + right > MARGIN + ROW:
                top, cursor = close(top), MARGIN
            item.x = snapped(cursor + left + GRID)
            cursor = item.x + right + GAP
            row.append(item)
        self.height = close(top) + MARGIN
        return self

    def chips(self):
        return [item for item in self.items if isinstance(item, Chip)]

    def chains(self):
        return [item for item in self.items if isinstance(item, Chain)]

    def notes(self):
        return [item for item in self.items if isinstance(item, Note)]

    def parts(self):
        """Yields (ref, value, stock, [(pin, net)]) of everything on the sheet."""
        for chip in self.chips():
            yield chip.ref, chip.value, chip.stock, [(number, net) for number, _, net, *_ in chip.pins()]
        for chain in self.chains():
            for n, (part, left, right, _) in enumerate(chain.parts()):
                inner = lambda net, k: net or f"{chain.items[1].ref}.{k}"  # a node without a label is known by its place
                yield part.ref, part.value, part.stock, [("1", inner(left, n)), ("2", inner(right, n + 1))]


def snapped(value: float) -> float:
    """On the grid."""
    return round(round(value / GRID) * GRID, 4)
