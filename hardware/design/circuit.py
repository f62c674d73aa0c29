"""The reference meter's circuit: what is on which sheet, and the bill of materials. The only description of it: schematic,
drawings and bill are made of this file and of pinout.csv by generate.py.

The reference potential GND is the phase conductor before the shunt: everything on GND is live.
"""
import csv
import os

from drawing import Chain, Chip, Note, Part, Sheet

HERE = os.path.dirname(os.path.abspath(__file__))

# Bill of materials: key -> (description, manufacturer, part number, package or how it is fitted). Where the part depends on the
# enclosure or on a supplier's tooling there is no number but what to ask for.
STOCK = {
    "mcu": ("Microcontroller, Cortex-M4F, 1 MiB flash", "STMicroelectronics", "STM32F405RGT6", "LQFP64"),
    "ade": ("Single-phase metering front end", "Analog Devices", "ADE7953ACPZ", "LFCSP28"),
    "fram": ("FRAM 2 Mbit, SPI", "RAMXEED (Fujitsu)", "MB85RS2MTAPNF-G-JNERE2", "SOP8"),
    "rtc": ("Real-time clock, I2C", "NXP", "PCF8563T/5", "SO8"),
    "lcd": ("LCD driver 32 x 4", "Holtek", "HT1621B", "SSOP48"),
    "rs485": ("RS-485 transceiver, reinforced isolation, own supply", "Texas Instruments", "ISOW1412DFMR", "SOIC20 wide"),
    "iso_power": ("Digital isolator 1/1, reinforced, own supply", "Texas Instruments", "ISOW7721DFMR", "SOIC20 wide"),
    "iso": ("Digital isolator 1/1, reinforced", "Texas Instruments", "ISO7721DWR", "SOIC16 wide"),
    "buck": ("Off-line buck converter", "Power Integrations", "LNK306DG", "SO8C"),
    "ldo": ("Regulator 3.3 V, 500 mA", "Diodes Incorporated", "AP2114H-3.3TRG1", "SOT223"),
    "hall": ("Hall switch, omnipolar, open drain", "Texas Instruments", "DRV5032FBDBZR", "SOT23"),
    "opto": ("Optocoupler, AC input", "Lite-On", "LTV-814S", "SMD4"),
    "ir_led": ("Infrared LED 940 nm", "Vishay", "TSAL6200", "5 mm"),
    "ir_rx": ("Phototransistor", "Vishay", "BPW96C", "5 mm"),
    "nmos": ("N-MOSFET 30 V, logic level", "Alpha and Omega", "AO3400A", "SOT23"),
    "pmos": ("P-MOSFET -30 V, logic level", "Alpha and Omega", "AO3401A", "SOT23"),
    "d_fly": ("Schottky diode 40 V 1 A", "onsemi", "SS14", "DO214AC"),
    "d_hv": ("Rectifier 1000 V 1 A", "onsemi", "S1M", "DO214AC"),
    "d_fast": ("Ultrafast diode 600 V 1 A", "onsemi", "ES1J", "DO214AC"),
    "d_clamp": ("Small-signal diode", "onsemi", "1N4148WS", "SOD323"),
    "tvs_bus": ("Surge clamp for RS-485", "Bourns", "CDSOT23-SM712", "SOT23"),
    "tvs_12": ("TVS 13 V", "Littelfuse", "SMBJ13A", "DO214AA"),
    "led": ("LED red, 2 mA", "Kingbright", "WP710A10LID", "3 mm"),
    "mov": ("Varistor 510 V AC rms, 20 mm", "TDK", "B72220S0511K101", "disc"),
    "r_fuse": ("Fusible wirewound resistor 47 Ohm 3 W", "Vishay", "CRF0347R0JLB", "axial, to be confirmed"),
    "xcap": ("Capacitor 100 nF X1 480 V AC", "TDK", "B32913A5104M", "radial, to be confirmed"),
    "c_bulk": ("Electrolytic 4.7 uF 450 V", "Nichicon", "UVR2W4R7MPD", "radial"),
    "c_hold": ("Electrolytic 2200 uF 16 V", "Panasonic", "EEU-FR1C222", "radial"),
    "c_out": ("Electrolytic 220 uF 10 V", "Panasonic", "EEE-FK1A221P", "SMD"),
    "l_buck": ("Choke 1 mH 0.5 A", "Wuerth", "7447480102", "radial, to be confirmed"),
    "l_emi": ("Choke 1 mH 0.2 A", "Wuerth", "744772102", "radial, to be confirmed"),
    "ferrite": ("Ferrite bead 600 Ohm", "Murata", "BLM18AG601SN1D", "0603"),
    "x8m": ("Crystal 8 MHz, 18 pF", "Abracon", "ABLS-8.000MHZ-B4-T", "HC49/US SMD"),
    "x358": ("Crystal 3.579545 MHz, 18 pF", "Abracon", "ABLS-3.579545MHZ-B4-T", "HC49/US SMD"),
    "x32k": ("Crystal 32.768 kHz, 12.5 pF", "Abracon", "ABS07-32.768KHZ-T", "SMD"),
    "battery": ("Lithium cell 3.6 V 1/2AA", "Saft", "LS14250", "leads"),
    "r_hv": ("Thick film 249 kOhm 1 % 200 V 1/4 W 50 ppm/K", "Vishay", "CRCW1206249KFKEA", "1206"),
    "r_sense": ("Thick film 100 kOhm 1 % 200 V 1/4 W", "Vishay", "CRCW1206100KFKEA", "1206"),
    "r_burden": ("Thin film 4.99 Ohm 0.5 % 25 ppm/K", "Vishay", "MCT0603MD4998BP500", "0603, to be confirmed"),
    "r_prec": ("Thin film 1 kOhm 0.1 % 25 ppm/K", "Panasonic", "ERA3AEB102V", "0603"),
    "r0603": ("Thick film 1 %", "Vishay", "CRCW0603-series", "0603"),
    "c0603": ("Ceramic X7R 50 V", "Murata", "GRM188R71H-series", "0603"),
    "c0g": ("Ceramic C0G 50 V 5 %", "Murata", "GRM1885C1H-series", "0603"),
    "c10u": ("Ceramic X7R 10 uF 10 V", "Murata", "GRM21BR71A106KA73L", "0805"),
    "button": ("Push button", "Omron", "B3F-1000", "through hole"),
    "keypad": ("Membrane or rubber keypad 4 x 3 on a PCB matrix", "by the enclosure's maker", "none: 4 rows, 3 columns, closed below 1 kOhm", "panel"),
    "glass": ("LCD glass, 12 digits with points, 1/4 duty, 1/3 bias, 3 V", "by the glass's maker", "none: segments as in hardware/src/drivers/ht1621.rs", "glass"),
    "cover_sw": ("Detector switch", "Omron", "D2F-L", "through hole"),
    "jumper": ("Pin header 1 x 2, 2.54 mm, with jumper", "Wuerth", "61300211121", "through hole"),
    "swd": ("Connector 2 x 5, 1.27 mm", "Samtec", "FTSH-105-01-L-DV-K", "SMD"),
    "bench": ("Pin header 1 x 4, 2.54 mm", "Wuerth", "61300411121", "through hole"),
    "modem": ("Pin header 1 x 4, 2.54 mm, shrouded", "Molex", "22-23-2041", "through hole"),
    "bus_term": ("Terminal block 3 poles, 5.08 mm", "Phoenix Contact", "1729131", "through hole"),
    "mains_term": ("Meter terminal block, 4 x 25 mm2", "by the enclosure's maker", "none: L in, L out, N in, N out, 60 A", "case"),
    "shunt": ("Shunt 200 uOhm, manganin, welded to the relay's blade", "by the relay's maker", "none: 200 uOhm 5 %, below 50 ppm/K, 60 A continuous", "welded"),
    "ct": ("Current transformer 2500:1, class 0.1, 60 A", "by the transformer's maker", "none: 2500:1, phase error below 0.3 degrees, 4 kV insulation", "through hole"),
    "relay": ("Bistable relay 80 A, two coils 12 V, UC2 of IEC 62055-31", "by the relay's maker", "none: 80 A 250 V AC, coils 12 V 2 W at most, pulse 50 to 100 ms", "chassis"),
}


def r(ref, value, stock="r0603"):
    return Part(ref, "R", value, stock)


def c(ref, value, stock="c0603"):
    return Part(ref, "C", value, stock)


def named(names):
    """Pins whose number is their name, in the order given: "NAME:NET", "NAME:" for not connected."""
    pins = []
    for item in names:
        name, net = item.split(":")
        pins.append((name, name, net or None))
    return pins


def mcu_pins():
    """(number, name, net) of every pin in pinout.csv."""
    with open(os.path.join(HERE, "pinout.csv"), newline="", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split(",", 5) for line in file]
    return [(package, pin, net) for pin, package, _name, _way, net, _to in lines[1:]]


def front_end():
    return Sheet("front-end", "Mains, shunt, divider, metering front end", [
        Note("GND IS THE LIVE PHASE. Every node of sheets 1 to 4 and 6 carries mains potential; see isolation.md."),
        Chip("J1", "Meter terminals", "mains_term", [], named(["L_IN:GND", "L_OUT:LOAD_L", "N_IN:N", "N_OUT:N_LOAD"])),
        Chain(["GND", Part("RSH1", "R", "200 uOhm", "shunt"), "SHUNT_OUT"]),
        Chain(["N", Part("RV1", "RV", "510 V", "mov"), "GND"]),
        Chip("T1", "CT 2500:1", "ct", named(["P1:N", "P2:N_LOAD"]), named(["S1:CT_P", "S2:CT_N"])),
        Chain(["N", r("R1", "249 k", "r_hv"), None, r("R2", "249 k", "r_hv"), None,
                            r("R3", "249 k", "r_hv"), None, r("R4", "249 k", "r_hv"), "V_P", r("R5", "1.00 k", "r_prec"), "GND"]),
        Chain(["V_P", c("C1", "33 n", "c0g"), "GND", c("C2", "33 n", "c0g"), "V_N", r("R6", "1.00 k", "r_prec"), "GND"]),
        Chain(["GND", r("R7", "1.00 k", "r_prec"), "I_N", c("C3", "33 n", "c0g"), "GND",
                            c("C4", "33 n", "c0g"), "I_P", r("R8", "1.00 k", "r_prec"), "SHUNT_OUT"]),
        Chain(["CT_P", r("R9", "4.99", "r_burden"), "GND", r("R10", "4.99", "r_burden"), "CT_N"]),
        Chain(["CT_P", r("R11", "1.00 k", "r_prec"), "IB_P", c("C5", "33 n", "c0g"), "GND",
                             c("C6", "33 n", "c0g"), "IB_N", r("R12", "1.00 k", "r_prec"), "CT_N"]),
        Chip("U1", "ADE7953", "ade", named(["IAP:I_P", "IAN:I_N", "IBP:IB_P", "IBN:IB_N", "VP:V_P", "VN:V_N", "REF:ADE_REF", "VINTA:ADE_VA",
                    "VINTD:ADE_VD", "CLKIN:ADE_X1", "CLKOUT:ADE_X2", "AGND:GND", "DGND:GND"]),
             named(["VDD:3V3", "PULL_HIGH:3V3", "PULL_LOW:GND", "RESET:ADE_NRESET", "CS:ADE_NCS", "SCLK:ADE_SCLK",
                    "MISO:ADE_MISO", "MOSI:ADE_MOSI", "CF1:ADE_CF1", "CF2:", "IRQ:", "ZX:", "REVP:"])),
        Chain(["ADE_X1", Part("Y1", "X", "3.58 MHz", "x358"), "ADE_X2"]),
        Chain(["ADE_X1", c("C7", "18 p", "c0g"), "GND", c("C8", "18 p", "c0g"), "ADE_X2"]),
        Chain(["ADE_REF", c("C9", "4.7 u"), "GND", c("C10", "100 n"), "ADE_REF"]),
        Chain(["ADE_VA", c("C11", "100 n"), "GND", c("C12", "100 n"), "ADE_VD"]),
        Chain(["3V3", c("C13", "100 n"), "GND", c("C14", "10 u", "c10u"), "3V3"]),
        Chain(["ADE_CF1", r("R13", "1.0 k"), "CF_TEST"]),
        Chain(["ADE_NRESET", r("R14", "10 k"), "3V3"]),
        Note("Shunt: 200 uOhm, gain 22: 80 A rms full scale.  Divider: 996 k over 1 k: 352 V rms full scale.  CT into 9.98 Ohm: 88 A rms."),
        Note("CF_TEST is a test pad for the bench; the meter's own LED is driven by the processor (sheet 3)."),
    ])


def supply():
    return Sheet("supply", "Supply, hold-up, battery", [
        Note("Not isolated: GND is the live phase."),
        Chain(["N", Part("RF1", "R", "47 fusible", "r_fuse"), "N_F", Part("L1", "L", "1 mH", "l_emi"), "N_L",
                            Part("D1", "D", "S1M", "d_hv"), "HV"]),
        Chain(["N_F", c("C20", "100 n X1", "xcap"), "GND"]),
        Chain(["HV", Part("C21", "CP", "4.7 u 450 V", "c_bulk"), "GND", Part("C22", "CP", "4.7 u 450 V", "c_bulk"), "HV"]),
        Chip("U2", "LNK306DG", "buck", named(["D:HV", "BP:BUCK_BP", "FB:BUCK_FB"]), named(["S:BUCK_SW"])),
        Chain(["BUCK_BP", c("C23", "100 n"), "BUCK_SW", Part("L2", "L", "1 mH", "l_buck"), "12V"]),
        Chain(["GND", Part("D2", "D", "ES1J", "d_fast"), "BUCK_SW"]),
        Chain(["12V", Part("D3", "D", "ES1J", "d_fast"), "BUCK_C", r("R20", "11.8 k"), "BUCK_FB",
                              r("R21", "2.00 k"), "BUCK_SW", c("C24", "10 u", "c10u"), "BUCK_C"]),
        Chain(["12V", Part("C25", "CP", "2200 u", "c_hold"), "GND", Part("D4", "TVS", "SMBJ13A", "tvs_12"), "12V"]),
        Chain(["12V", r("R22", "3.3 k"), "GND"]),
        Chip("U3", "AP2114H-3.3", "ldo", named(["VIN:12V", "GND:GND"]), named(["VOUT:3V3"])),
        Chain(["3V3", Part("C26", "CP", "220 u", "c_out"), "GND", c("C27", "10 u", "c10u"), "3V3"]),
        Chain(["VBATT", Part("BT1", "BT", "3.6 V", "battery"), "GND"]),
        Chain(["VBATT", Part("D5", "D", "1N4148WS", "d_clamp"), "RTC_VDD"]),
        Chain(["3V3", Part("D6", "D", "1N4148WS", "d_clamp"), "RTC_VDD"]),
        Note("Hold-up after the mains has gone: C25 from 12 V to 4.5 V at the regulator gives 2200 uF x 7.5 V = 16.5 mC; at 60 mA 275 ms."),
        Note("A relay pulse (2 W, 100 ms: 167 mA x 0.1 s = 16.7 mC) takes C25 to 4.4 V when the mains is gone: none is begun then."),
        Note("The clock runs from 3V3 or from the cell, whichever is higher; at 0.25 uA a cell of 1.2 Ah outlasts its own shelf life."),
    ])


def processor():
    pins = mcu_pins()
    half = (len(pins) + 1) // 2
    rest_left = [("5", "PH0", "X8_1"), ("6", "PH1", "X8_2"), ("7", "NRST", "NRST"), ("46", "PA13", "SWDIO"),
                 ("49", "PA14", "SWCLK"), ("60", "BOOT0", "BOOT0"), ("28", "PB2", "BOOT1"), ("1", "VBAT", "3V3"),
                 ("13", "VDDA", "3V3"), ("12", "VSSA", "GND")]
    rest_right = [("19", "VDD", "3V3"), ("32", "VDD", "3V3"), ("48", "VDD", "3V3"), ("64", "VDD", "3V3"), ("18", "VSS", "GND"),
                  ("63", "VSS", "GND"), ("31", "VCAP_1", "VCAP1"), ("47", "VCAP_2", "VCAP2"), ("3", "PC14", None), ("4", "PC15", None)]
    return Sheet("processor", "Processor, memory, clock", [
        Chip("U4", "STM32F405RG", "mcu", pins[:half] + rest_left, pins[half:] + rest_right, 40.64),
        Chip("U5", "MB85RS2MTA", "fram", named(["CS:FRAM_NCS", "SCK:FRAM_SCLK", "SI:FRAM_MOSI", "SO:FRAM_MISO"]), named(["VDD:3V3", "WP:3V3", "HOLD:3V3", "VSS:GND"])),
        Chip("U6", "PCF8563", "rtc", named(["SCL:RTC_SCL", "SDA:RTC_SDA", "INT:", "CLKOUT:"]), named(["VDD:RTC_VDD", "OSCI:X32_1", "OSCO:X32_2", "VSS:GND"])),
        Chip("J2", "SWD", "swd", named(["SWDIO:SWDIO", "SWCLK:SWCLK", "RESET:NRST"]), named(["VTREF:3V3", "GND:GND"])),
        Chain(["3V3", c("C30", "100 n"), "GND"]),
        Chain(["RTC_VDD", c("C31", "100 n"), "GND"]),
        Chain(["X32_1", Part("Y2", "X", "32.768 kHz", "x32k"), "X32_2"]),
        Chain(["RTC_SCL", r("R30", "4.7 k"), "3V3"]),
        Chain(["RTC_SDA", r("R31", "4.7 k"), "3V3"]),
        Chain(["X8_1", Part("Y3", "X", "8 MHz", "x8m"), "X8_2"]),
        Chain(["X8_1", c("C32", "22 p", "c0g"), "GND", c("C33", "22 p", "c0g"), "X8_2"]),
        Chain(["NRST", c("C34", "100 n"), "GND", r("R32", "10 k"), "BOOT0"]),
        Chain(["BOOT1", r("R33", "10 k"), "GND"]),
        Chain(["VCAP1", c("C35", "2.2 u"), "GND", c("C36", "2.2 u"), "VCAP2"]),
        Chain(["3V3", c("C37", "100 n"), "GND", c("C38", "100 n"), "3V3"]),
        Chain(["3V3", c("C39", "100 n"), "GND", c("C40", "100 n"), "3V3"]),
        Chain(["3V3", c("C41", "10 u", "c10u"), "GND"]),
        Chain(["PULSE", r("R34", "1.0 k"), "PULSE_A", Part("D30", "LED", "red", "led"), "GND"]),
        Note("Pins of U4 as in pinout.csv, which a test compares with the firmware's pins.rs."),
    ])


def relay():
    return Sheet("relay", "Relay, contact sense, tamper inputs", [
        Chip("K1", "Bistable 80 A", "relay", named(["A:SHUNT_OUT", "CLOSE+:12V", "OPEN+:12V"]),
             named(["B:LOAD_L", "CLOSE-:COIL_C", "OPEN-:COIL_O"])),
        Chip("Q1", "AO3400A", "nmos", named(["G:GATE_C"]), named(["D:COIL_C", "S:GND"])),
        Chip("Q2", "AO3400A", "nmos", named(["G:GATE_O"]), named(["D:COIL_O", "S:GND"])),
        Chain(["RELAY_CLOSE", r("R40", "100"), "GATE_C", r("R41", "10 k"), "GND"]),
        Chain(["RELAY_OPEN", r("R42", "100"), "GATE_O", r("R43", "10 k"), "GND"]),
        Chain(["COIL_C", Part("D40", "D", "SS14", "d_fly"), "12V"]),
        Chain(["COIL_O", Part("D41", "D", "SS14", "d_fly"), "12V"]),
        Note("R41 and R43 keep both coils off while the processor is in reset."),
        Chain(["LOAD_L", r("R44", "100 k", "r_sense"), None, r("R45", "100 k", "r_sense"), "SENSE_A"]),
        Chain(["N", r("R46", "100 k", "r_sense"), None, r("R47", "100 k", "r_sense"), "SENSE_K"]),
        Chip("U7", "LTV-814S", "opto", named(["A:SENSE_A", "K:SENSE_K"]), named(["C:3V3", "E:SENSE_E"])),
        Chain(["SENSE_E", r("R48", "100 k"), "GND", c("C45", "1 u"), "SENSE_E"]),
        Chain(["SENSE_E", r("R49", "10 k"), "RELAY_SENSE"]),
        Note("Sense current 230 V / 400 k = 0.58 mA; R48 and C45 hold the level over the zero crossings (100 ms)."),
        Chip("U8", "DRV5032FB", "hall", named(["VCC:3V3", "GND:GND"]), named(["OUT:MAGNET"])),
        Chain(["COVER", Part("SW1", "SW", "cover", "cover_sw"), "GND"]),
        Chain(["CAL_JUMPER", Part("JP1", "SW", "calibrate", "jumper"), "GND"]),
        Chain(["BUTTON", Part("SW2", "SW", "button", "button"), "GND"]),
        Chain(["COVER", c("C46", "10 n"), "GND"]),
        Chain(["CAL_JUMPER", c("C47", "10 n"), "GND"]),
        Chain(["BUTTON", c("C48", "10 n"), "GND"]),
    ])


def links():
    return Sheet("links", "RS-485, optical port, modem, bench", [
        Note("Right of U10, U11 and U12 is touchable: reinforced insulation runs through these three and nowhere else."),
        Chip("U10", "ISOW1412", "rs485", named(["VIO:3V3", "VDD:3V3", "D:RS485_TXD", "DE:RS485_DE", "R:RS485_RXD", "RE:GND", "EN:3V3", "GND1:GND"]),
             named(["VISOOUT:ISO_5V", "VISOIN:BUS_5V", "A:BUS_B", "B:BUS_A", "Y:BUS_B", "Z:BUS_A", "GISOOUT:ISO_0V", "GND2:BUS_0V"]), 33.02),
        Chip("J3", "RS-485", "bus_term", named(["A:LINE_A", "B:LINE_B", "C:BUS_0V"]), []),
        Chain(["BUS_A", r("R50", "10"), "LINE_A"]),
        Chain(["BUS_B", r("R51", "10"), "LINE_B"]),
        Chip("D50", "SM712", "tvs_bus", named(["1:LINE_A", "2:LINE_B"]), named(["3:BUS_0V"])),
        Chain(["3V3", c("C50", "10 u", "c10u"), "GND", c("C51", "100 n"), "3V3"]),
        Chain(["BUS_5V", c("C52", "10 u", "c10u"), "BUS_0V", c("C53", "100 n"), "BUS_5V"]),
        Chain(["ISO_5V", Part("FB1", "L", "600 Ohm", "ferrite"), "BUS_5V"]),
        Chain(["ISO_0V", Part("FB2", "L", "600 Ohm", "ferrite"), "BUS_0V"]),
        Note("No termination here: it is at the two ends of the line (cabinet.md). U10 calls its non-inverting pins A and Y; the terminals are named as in TIA-485-A."),
        Chip("Q3", "AO3401A", "pmos", named(["G:OPTO_TXD"]), named(["S:3V3", "D:IR_D"])),
        Chain(["IR_D", r("R52", "100"), "IR_A", Part("D51", "LED", "TSAL6200", "ir_led"), "GND"]),
        Chip("Q4", "BPW96C", "ir_rx", named(["C:OPTO_RXD"]), named(["E:GND"])),
        Chain(["3V3", r("R53", "22 k"), "OPTO_RXD"]),
        Note("The optical head touches the case only: light is the insulation. Light is a space, dark a mark (IEC 62056-21, 4.3): Q3 lights D51 while TXD is low."),
        Chip("U11", "ISOW7721", "iso_power", named(["VDD:3V3", "INA:MODEM_TXD", "OUTB:MODEM_RXD", "EN:3V3", "GND1:GND"]),
             named(["VISO:MOD_3V3", "OUTA:MOD_TX", "INB:MOD_RX", "GND2:MOD_0V"]), 33.02),
        Chip("J4", "Modem", "modem", named(["1:MOD_3V3", "2:MOD_TX", "3:MOD_RX", "4:MOD_0V"]), []),
        Chain(["MOD_3V3", c("C54", "10 u", "c10u"), "MOD_0V"]),
        Chip("U12", "ISO7721", "iso", named(["VCC1:3V3", "INA:BENCH_TXD", "OUTB:BENCH_RXD", "GND1:GND"]),
             named(["VCC2:BEN_3V3", "OUTA:BEN_TX", "INB:BEN_RX", "GND2:BEN_0V"]), 33.02),
        Chip("J5", "Bench", "bench", named(["1:BEN_3V3", "2:BEN_TX", "3:BEN_RX", "4:BEN_0V"]), []),
        Chain(["BEN_3V3", c("C55", "100 n"), "BEN_0V"]),
        Chain(["3V3", c("C56", "100 n"), "GND", c("C57", "10 u", "c10u"), "3V3"]),
        Note("The bench feeds its own side of U12; J5 is under the sealed cover."),
    ])


def front():
    rows = [f"R{n}:KEY_R{n}" for n in range(1, 5)]
    columns = [f"C{n}:KEY_C{n}" for n in range(1, 4)]
    return Sheet("front", "Display and keypad", [
        Chip("U9", "HT1621B", "lcd", named(["CS:LCD_NCS", "WR:LCD_NWR", "DATA:LCD_DATA", "RD:3V3", "VDD:3V3", "VLCD:LCD_V", "VSS:GND"]),
             named(["COM0:COM0", "COM1:COM1", "COM2:COM2", "COM3:COM3", "SEG0-23:SEG", "BZ:", "IRQ:"])),
        Chip("DS1", "Glass 12 digits", "glass", named(["COM0:COM0", "COM1:COM1", "COM2:COM2", "COM3:COM3", "SEG0-23:SEG"]), []),
        Chain(["3V3", r("R60", "4.7 k"), "LCD_V", c("C60", "100 n"), "GND"]),
        Chain(["3V3", c("C61", "100 n"), "GND"]),
        Chip("SW3", "Keypad 4 x 3", "keypad", named(rows), named(columns)),
        Chain(["KEY_C1", c("C62", "1 n"), "GND", c("C63", "1 n"), "KEY_C2"]),
        Chain(["KEY_C3", c("C64", "1 n"), "GND"]),
        Note("SEG stands for the 24 segment lines of U9, one each to the pin of the same number of DS1: two lines a digit (ht1621.rs)."),
        Note("Keypad and glass are live behind their plastic: 5.5 mm through insulation and creepage to the outside as in isolation.md."),
    ])


def sheets():
    return [sheet.laid_out() for sheet in (front_end(), supply(), processor(), relay(), links(), front())]
