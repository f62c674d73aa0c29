"""Reads and switches a Modbus meter with `pymodbus`, over TCP or a serial line, and prints what it saw as JSON.

    python modbus_client.py --host 127.0.0.1 --port 1502 --unit 1 --switch

The addresses are the reference meter's (`protocol/src/modbus/reference.rs`), given here a second time on purpose.
"""

import argparse
import json
import sys

from pymodbus.client import ModbusSerialClient, ModbusTcpClient

SERIAL, SERIAL_REGISTERS = 0, 8
IMPORT_WH = 16
POWER_W = 24
END = 26
RELAY_COIL = 0
CONTACT_INPUT = 0
ILLEGAL_DATA_ADDRESS = 2


def good(response, what):
    if response.isError():
        sys.exit(f"{what}: {response}")
    return response


def registers(client, unit, address, count):
    return good(client.read_input_registers(address, count=count, device_id=unit), f"input registers {address}").registers


def number(words):
    value = 0
    for word in words:
        value = value << 16 | word
    return value


def look(client, unit):
    words = registers(client, unit, SERIAL, SERIAL_REGISTERS)
    text = b"".join(word.to_bytes(2, "big") for word in words).rstrip(b"\0").decode("ascii")
    return {
        "serial": text,
        "import_wh": number(registers(client, unit, IMPORT_WH, 4)),
        "power_w": number(registers(client, unit, POWER_W, 2)),
    }


def relay(client, unit):
    return {
        "coil": good(client.read_coils(RELAY_COIL, count=1, device_id=unit), "coil").bits[0],
        "contact": good(client.read_discrete_inputs(CONTACT_INPUT, count=1, device_id=unit), "contact").bits[0],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--serial", help="a serial device instead of TCP")
    parser.add_argument("--baud", type=int, default=9600)
    parser.add_argument("--unit", type=int, default=1)
    parser.add_argument("--switch", action="store_true", help="open and close the relay too")
    options = parser.parse_args()
    if options.serial:
        client = ModbusSerialClient(port=options.serial, baudrate=options.baud, timeout=3)
    else:
        client = ModbusTcpClient(options.host, port=options.port, timeout=3)
    if not client.connect():
        sys.exit("no connection")
    unit = options.unit
    seen = {"read": look(client, unit)}
    beyond = client.read_input_registers(END, count=1, device_id=unit)
    seen["beyond the map"] = beyond.exception_code if beyond.isError() else "answered"
    if options.switch:
        for word, closed in (("opened", False), ("closed", True)):
            good(client.write_coil(RELAY_COIL, closed, device_id=unit), "write coil")
            seen[word] = relay(client, unit)
    client.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
