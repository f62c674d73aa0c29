"""Writes sheets as KiCad schematics (file format 20211123: KiCad 6 and later open it)."""
import uuid

from drawing import BODIES, HALF, PIN, snapped

VERSION = "20211123"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "meter.hardware.design")
FONT = "(effects (font (size 1.27 1.27)){})"


def uid(*parts) -> str:
    """The same for the same parts: the files do not change when nothing else does."""
    return str(uuid.uuid5(NAMESPACE, "/".join(str(part) for part in parts)))


def quoted(text) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def number(value: float) -> str:
    return f"{snapped(value):g}" if abs(value - snapped(value)) < 0.01 else f"{value:g}"


def prop(name, value, n, x, y, hidden=False, justify="") -> str:
    extra = (f" (justify {justify})" if justify else "") + (" hide" if hidden else "")
    return f"(property {quoted(name)} {quoted(value)} (id {n}) (at {number(x)} {number(y)} 0) {FONT.format(extra)})"


def stroke() -> str:
    return "(stroke (width 0.1524) (type default) (color 0 0 0 0)) (fill (type none))"


def pin(x, y, angle, length, name, label) -> str:
    return (f"(pin passive line (at {number(x)} {number(y)} {angle}) (length {number(length)}) "
            f"(name {quoted(name)} {FONT.format('')}) (number {quoted(label)} {FONT.format('')}))")


def body(kind: str) -> str:
    """A two-terminal symbol; y is upwards in libraries."""
    shapes = []
    for shape in BODIES[kind]:
        if shape[0] == "line":
            points = " ".join(f"(xy {x:g} {-y:g})" for x, y in shape[1])
            shapes.append(f"(polyline (pts {points}) {stroke()})")
        else:
            _, x, y, radius = shape
            shapes.append(f"(circle (center {x:g} {-y:g}) (radius {radius:g}) {stroke()})")
    pins = [pin(-HALF, 0, 0, HALF - 2.54, "~", "1"), pin(HALF, 0, 180, HALF - 2.54, "~", "2")]
    return symbol(f"meter:{kind}", kind, "(pin_numbers hide) (pin_names hide)", shapes, pins, kind)


def symbol(name, prefix, options, shapes, pins, value) -> str:
    bare = name.split(":")[1]
    return (f"(symbol {quoted(name)} {options} (in_bom yes) (on_board yes)\n"
            f"  {prop('Reference', prefix, 0, 0, 3.81)}\n  {prop('Value', value, 1, 0, -3.81)}\n"
            f"  {prop('Footprint', '', 2, 0, 0, True)}\n  {prop('Datasheet', '', 3, 0, 0, True)}\n"
            f"  (symbol {quoted(bare + '_0_1')} {' '.join(shapes)})\n"
            f"  (symbol {quoted(bare + '_1_1')} {' '.join(pins)}))")


def chip_name(chip) -> str:
    return "meter:" + "".join(c if c.isalnum() else "_" for c in f"{chip.ref}_{chip.value}")


def box(chip) -> str:
    w, h = chip.width / 2, chip.height / 2
    shape = (f"(rectangle (start {number(-w)} {number(h)}) (end {number(w)} {number(-h)}) "
             "(stroke (width 0.254) (type default) (color 0 0 0 0)) (fill (type background)))")
    pins = [pin(x, -y, 0 if side < 0 else 180, PIN, name, label) for label, name, _, side, x, y in chip.pins()]
    hide = "(pin_numbers hide) " if all(label == name for label, name, *_ in chip.pins()) else ""
    return symbol(chip_name(chip), "U", hide + "(pin_names (offset 0.508))", [shape], pins, chip.value)


def placed(sheet, lib, ref, value, stock, x, y, above, below, pins) -> str:
    ids = " ".join(f"(pin {quoted(label)} (uuid {uid(sheet.name, ref, label, n)}))" for n, label in enumerate(pins))
    return (f"(symbol (lib_id {quoted(lib)}) (at {number(x)} {number(y)} 0) (unit 1) (in_bom yes) (on_board yes)\n"
            f"  (uuid {uid(sheet.name, ref)})\n"
            f"  {prop('Reference', ref, 0, x, y - above)}\n  {prop('Value', value, 1, x, y + below)}\n"
            f"  {prop('Footprint', '', 2, x, y, True)}\n  {prop('Datasheet', '', 3, x, y, True)}\n"
            f"  {prop('Stock', stock, 4, x, y, True)}\n  {ids})")


def label(net, x, y, angle, key) -> str:
    justify = {0: "left", 90: "left", 180: "right", 270: "right"}[angle]
    return (f"(global_label {quoted(net)} (shape passive) (at {number(x)} {number(y)} {angle}) "
            f"(effects (font (size 1.27 1.27)) (justify {justify})) (uuid {uid('label', key, net, x, y)}))")


def wire(x1, y1, x2, y2, key) -> str:
    return (f"(wire (pts (xy {number(x1)} {number(y1)}) (xy {number(x2)} {number(y2)})) "
            f"(stroke (width 0) (type default) (color 0 0 0 0)) (uuid {uid('wire', key, x1, y1, x2, y2)}))")


def sheet(sheet, page: int) -> str:
    libraries, items = {}, []
    for chip in sheet.chips():
        x, y = snapped(chip.x), snapped(chip.y)
        libraries[chip_name(chip)] = box(chip)
        items.append(placed(sheet, chip_name(chip), chip.ref, chip.value, chip.stock, x, y, chip.height / 2 + 1.27,
                            chip.height / 2 + 1.905, [pin[0] for pin in chip.pins()]))
        for n, (_, _, net, side, px, py) in enumerate(chip.pins()):
            at = x + px, y + py
            if net:
                items.append(label(net, *at, 180 if side < 0 else 0, f"{chip.ref}.{n}"))
            else:
                items.append(f"(no_connect (at {number(at[0])} {number(at[1])}) (uuid {uid('nc', chip.ref, n)}))")
    for chain in sheet.chains():
        y = snapped(chain.y)
        for part, _, _, middle in chain.parts():
            middle = snapped(middle)
            libraries[f"meter:{part.kind}"] = body(part.kind)
            items.append(placed(sheet, f"meter:{part.kind}", part.ref, part.value, part.stock, middle, y, 3.175, 3.175, ["1", "2"]))
            for side in (-1, 1):
                items.append(wire(middle + side * HALF, y, middle + side * 8.89, y, part.ref))
        first = chain.items[1].ref
        for net, x, place in chain.nodes():
            if net:
                angle = {-1: 180, 1: 0, 0: 90}[place]
                items.append(label(net, snapped(x), y, angle, first))
    for note in sheet.notes():
        items.append(f"(text {quoted(note.text)} (at {number(note.x)} {number(note.y)} 0) "
                     f"(effects (font (size 1.524 1.524)) (justify left bottom)) (uuid {uid('note', sheet.name, note.text)}))")
    library = "\n".join(libraries[name] for name in sorted(libraries))
    return (f"(kicad_sch (version {VERSION}) (generator meter_design)\n(uuid {uid('file', sheet.name)})\n(paper \"A3\")\n"
            f"{title(sheet.title)}\n(lib_symbols\n{library})\n" + "\n".join(items) + "\n)\n")


def title(text: str) -> str:
    return (f"(title_block (title {quoted('Reference meter: ' + text)}) (rev \"1\")\n"
            '(comment 1 "Never built, never measured, certified for nothing"))')


def root(all_sheets) -> str:
    items, pages, instances = [], ['(path "/" (page "1"))'], []
    for n, sheet in enumerate(all_sheets):
        x, y = 38.1 + 88.9 * (n % 3), 50.8 + 50.8 * (n // 3)
        own = uid("sheet", sheet.name)
        items.append(
            f"(sheet (at {number(x)} {number(y)}) (size 63.5 25.4) (fields_autoplaced)\n"
            "(stroke (width 0.1524) (type solid) (color 0 0 0 0)) (fill (color 0 0 0 0.0000))\n"
            f"(uuid {own})\n{prop('Sheet name', f'{n + 1} {sheet.title}', 0, x, y - 0.7, justify='left bottom')}\n"
            f"{prop('Sheet file', sheet.name + '.kicad_sch', 1, x, y + 26.6, justify='left top')})")
        pages.append(f'(path "/{own}" (page "{n + 2}"))')
        for ref, value, _stock, _pins in sheet.parts():
            instances.append(f'(path "/{own}/{uid(sheet.name, ref)}" (reference {quoted(ref)}) (unit 1) '
                             f"(value {quoted(value)}) (footprint \"\"))")
    return (f"(kicad_sch (version {VERSION}) (generator meter_design)\n(uuid {uid('file', 'root')})\n(paper \"A4\")\n"
            f"{title('sheets')}\n(lib_symbols)\n" + "\n".join(items) +
            "\n(sheet_instances\n" + "\n".join(pages) + ")\n(symbol_instances\n" + "\n".join(instances) + "))\n")
