"""Runs one story with one foreign client against one meter and prints the outcome as one line of JSON.

    python client.py --peer gurux --framing hdlc --access vending --host 127.1.0.1 --token 20-digits --amount-wh 5000

Exit code 0: every step came out as it must. 1: one did not; the line says which. 2: the association was refused.
"""

import argparse
import importlib
import json
import sys
import traceback

import settings
import story
from terminal import Terminal

PEERS = {"gurux": "gurux_client", "dlms-cosem": "dlms_cosem_client", "pydlms": "pydlms_client"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", choices=sorted(PEERS), required=True)
    parser.add_argument("--framing", choices=("wrapper", "hdlc"), default="wrapper")
    parser.add_argument("--access", choices=sorted(story.STORIES), required=True)
    parser.add_argument("--host", default="127.1.0.1")
    parser.add_argument("--port", type=int, default=4059)
    parser.add_argument("--serial", help="a serial device instead of TCP, for HDLC")
    parser.add_argument("--mode-e", action="store_true", help="an optical port: sign on before HDLC (gurux)")
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=4, help="profile rows that must be there at least")
    parser.add_argument("--token", help="20 digits, for vending")
    parser.add_argument("--amount-wh", type=int, default=0)
    parser.add_argument("--slack-wh", type=int, default=100, help="what the house may have consumed meanwhile")
    parser.add_argument("--arms", action="store_true", help="remote reconnect arms the relay, a person closes it")
    parser.add_argument("--authentication-key", type=bytes.fromhex, default=settings.AUTHENTICATION_KEY)
    options = parser.parse_args()

    outcome = {"peer": options.peer, "framing": options.framing, "access": options.access, "steps": {}}
    code = 0
    if options.peer == "dlms-cosem" and options.framing == "hdlc" and not options.serial:
        # The library loses answers when HDLC goes over TCP, and none on a serial device.
        options.serial = Terminal(options.host, options.port).path
    try:
        client = importlib.import_module(PEERS[options.peer]).Client(options)
        for step, value in story.STORIES[options.access](client, options):
            outcome["steps"][step] = value
    except story.Refused as refusal:
        outcome["refused"], code = str(refusal), 2
    except story.Failed as failure:
        outcome["failed"], code = str(failure), 1
    except Exception as error:  # A defect of either side: the report must say where.
        outcome["failed"], code = f"{type(error).__name__}: {error}", 1
        traceback.print_exc()
    print(json.dumps(outcome))
    sys.exit(code)


if __name__ == "__main__":
    main()
