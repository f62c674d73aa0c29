"""Runs one foreign client over every way of associating, against one meter, and prints a line of JSON for each operation.

    python matrix.py plan.json

The plan names peer, framing, host and port, and for each way its client address, mechanism, protection, suite, a token, and the
operations. For a push a line says where we listen, and the meter is expected to send one.
"""

import argparse
import contextlib
import importlib
import json
import os
import socket
import sys
import time
import traceback
import types

import settings
from client import PEERS
from operations import ASIDE, OPERATIONS, NotOffered, needs, settings_way
from story import Failed
from terminal import Terminal

PUSH = "push"
# Forms that few libraries have for requests: those that do name them among their features.
NAMED = ("general-ciphering", "general-signing")
PUSH_TIMEOUT_S = 10.0
ANSWER_S = 30.0


def say(**line):
    print(json.dumps(line), file=OUT, flush=True)


# Libraries print to standard output.
OUT = os.fdopen(os.dup(1), "w")


def attempt(work):
    """What came of it: green, and what was said."""
    try:
        work()
    except NotOffered as missing:
        return False, f"not offered: {missing}"
    except Failed as failure:
        return False, f"failed: {failure}"
    except Exception as error:  # A defect of either side: the report must say where.
        traceback.print_exc()
        return False, f"{type(error).__name__}: {error}"
    return True, ""


def received_push(module, plan, way):
    """Listens, says where, and hands the first push to the library. The values have to be the meter's."""
    if not hasattr(module, "push_values"):
        raise NotOffered("push")
    with socket.create_server((plan["host"], 0)) as listener:
        listener.settimeout(PUSH_TIMEOUT_S)
        say(matrix="listening", sap=way["sap"], port=listener.getsockname()[1])
        stream, _ = listener.accept()
        with stream:
            stream.settimeout(PUSH_TIMEOUT_S)
            octets = bytearray()
            while part := stream.recv(4096):
                octets += part
    name, clock, energy = module.push_values(bytes(octets), bytes.fromhex(plan["system_title_hex"]), settings_way(way))
    if not (bytes(name).startswith(b"MGW") and len(bytes(clock)) == 12 and energy > 0):
        raise Failed(f"{name!r} {clock!r} {energy!r}")


class Conversation:
    """A client with its association, opened when it is needed and anew after something went wrong."""

    def __init__(self, module, plan, way):
        self.module, self.plan, self.way = module, plan, way
        self.client = self.terminal = self.refused = None

    def _make(self):
        plan, serial = self.plan, None
        if plan["framing"] == "serial":
            self.terminal = Terminal(plan["host"], plan["port"])
            serial = self.terminal.path
        self.client = self.module.Client(types.SimpleNamespace(
            host=plan["host"], port=plan["port"], framing=plan["framing"], serial=serial, timeout=ANSWER_S,
            authentication_key=settings.AUTHENTICATION_KEY, mode_e=False,
        ))

    def _open(self):
        named = next((form for form in NAMED if self.way["protection"].startswith(form)), None)
        if named and named not in self.module.Client.features:
            self.refused = attempt(lambda: needs(self.module.Client, named))
            return
        self._make()
        outcome = attempt(lambda: self.client.associate(settings_way(self.way)))
        if not outcome[0]:
            self.refused = outcome
            self.end(self.client.abandon)

    def end(self, how):
        with contextlib.suppress(Exception):
            how()
        self.client = None
        if self.terminal:
            self.terminal.close()
            self.terminal = None

    def aside(self, name):
        """An operation with an association of its own, or none: the one of the others is closed for it."""
        if self.client:
            self.end(self.client.close)
        self._make()
        outcome = attempt(lambda: ASIDE[name](self.client, self.plan, self.way))
        self.end(self.client.abandon)
        return outcome

    def run(self, name):
        if name == PUSH:
            return attempt(lambda: received_push(self.module, self.plan, self.way))
        if name in ASIDE:
            return self.aside(name)
        if not self.client and not self.refused:
            self._open()
        if self.refused:
            return self.refused
        outcome = attempt(lambda: OPERATIONS[name](self.client, self.plan, self.way))
        if not outcome[0] and not outcome[1].startswith("not offered"):
            self.end(self.client.abandon)
        return outcome


def run_way(module, plan, way):
    conversation = Conversation(module, plan, way)
    for name in way["operations"]:
        began = time.monotonic()
        green, said = conversation.run(name)
        say(
            matrix="cell", mechanism=way["mechanism"], protection=way["protection"], suite=way["suite"], operation=name,
            green=green, said=said, ms=round(1000 * (time.monotonic() - began)),
        )
    if conversation.client:
        conversation.end(conversation.client.close)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=argparse.FileType())
    plan = json.load(parser.parse_args().plan)
    module = importlib.import_module(PEERS[plan["peer"]])
    with contextlib.redirect_stdout(sys.stderr):
        for way in plan["ways"]:
            run_way(module, plan, way)
    say(matrix="done", cpu_s=round(time.process_time(), 1))


if __name__ == "__main__":
    main()
