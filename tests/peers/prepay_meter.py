"""A prepaid meter on `pydlms-client`'s server, for our gateway to read, top up and disconnect.

The protocol is the library's; what the objects mean is written here: an account in prepayment mode, one token credit in
watt-hours, a token gateway that takes each token once, a relay with sensed and logical state.

What a token is worth is said on the command line (`--token 20-digits=watt-hours`, `--any-token-wh`), so that this meter
shares no token code with ours. Every event is one line of JSON on standard output; the first says where it listens.

    python prepay_meter.py --framing hdlc --token 12345678901234567890=5000
"""

import argparse
import datetime
import json
import threading

from pydlms.apdu import xdlms
from pydlms.apdu.xdlms import Conformance
from pydlms.cosem.data import DlmsData
from pydlms.cosem.enums import DataType
from pydlms.cosem.time import CosemDateTime
from pydlms.security.ciphering import wrap_general_glo
from pydlms.security.general import GeneralAad
from pydlms.security.hls import Mechanism
from pydlms.simulator import ClientProfile, MeterSimulator, SimulatedPush, serve

import settings
from story import ACCOUNT, CREDIT, RELAY, TOKEN_GATEWAY

EXECUTION_OK, FORMAT_FAILURE, AUTHENTICATION_FAILURE, VALIDATION_FAILURE = 3, 4, 5, 6
REMOTE = 0
DIGITS = 20
QUARTER_HOUR = datetime.timedelta(minutes=15)
ENERGY, POWER, PROFILE = "1.0.1.8.0.255", "1.0.1.7.0.255", "1.0.99.1.0.255"
PUSH_SETUP = "0.7.25.9.0.255"


def say(**event):
    print(json.dumps(event), flush=True)


def logical_name(name):
    return DlmsData.octet_string(bytes(map(int, name.split("."))))


def bits(pattern):
    return DlmsData(DataType.BIT_STRING, tuple(bit == "1" for bit in pattern))


def date_time(at):
    return DlmsData.octet_string(CosemDateTime.from_datetime(at).to_bytes())


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


class Meter(MeterSimulator):
    """`attributes[(class, name)][index]` is what a GET gives; methods change it."""

    def __init__(self, options):
        super().__init__(
            system_title=options.system_title.encode("ascii"),
            encryption_key=settings.ENCRYPTION_KEY,
            authentication_key=settings.AUTHENTICATION_KEY,
            max_pdu=options.max_pdu,
        )
        # Agreed on with who proposes it.
        self.conformance |= Conformance.GENERAL_BLOCK_TRANSFER
        # The library has both readings of what general-ciphering authenticates, and asks which one.
        self.security.general_aad = GeneralAad.WITH_HEADER
        self.worth, self.worth_of_any = dict(options.token), options.any_token_wh
        self.used, self.power_w = set(), options.power_w
        self.clients = {
            16: ClientProfile(),
            17: ClientProfile(Mechanism.LLS, secret=settings.PASSWORD.encode()),
            18: ClientProfile(Mechanism.HLS_GMAC, ciphered=True),
            1: ClientProfile(Mechanism.HLS_GMAC, ciphered=True),
        }
        if options.wide:
            self._every_way()
        self.last_client_ic = 0
        self._identity(options)
        self._energy(options)
        self._payment(options)
        self._relay()
        if options.short_names:
            self._short_names()

    def _every_way(self):
        """A client address for each mechanism, without ciphering (0x20 and on) and with it (0x28 and on); a note to write; a push."""
        for mechanism in Mechanism:
            secret = settings.WIDE_SECRET.encode() if mechanism not in (Mechanism.NONE, Mechanism.HLS_GMAC) else None
            for base, ciphered in ((0x20, False), (0x28, True)):
                self.clients[base + mechanism] = ClientProfile(mechanism, secret=secret, ciphered=ciphered)
        self.add_object(1, "0.0.96.99.1.255", {2: DlmsData.octet_string(b"")})
        self.add_method(7, PROFILE, 2, Meter.capture)
        self.add_object(40, PUSH_SETUP, {2: DlmsData.array([])})
        self.add_method(40, PUSH_SETUP, 1, Meter.push)

    def _short_names(self):
        """Base names of what is read and written by short name."""
        self.conformance |= Conformance.default_sn()
        named = {0x0100: (1, "0.0.42.0.0.255"), 0x0200: (3, ENERGY), 0x0300: (1, "0.0.96.99.1.255"), 0x1000: (7, PROFILE)}
        for base, (class_id, name) in named.items():
            self.base_names[(class_id, self._name(name))] = base

    def capture(self, _parameter):
        profile = self.value(7, PROFILE)
        rows = profile[2].value
        energy = self.value(3, ENERGY)[2]
        profile[2] = DlmsData.array([*rows, DlmsData.structure([date_time(now()), DlmsData.uint32(rows[-1].value[1].value)])])
        profile[7] = DlmsData.uint32(len(profile[2].value))

    def push(self, protected):
        """Pushes the energy ahead of the method's answer; parameter 1: ciphered."""
        body = DlmsData.structure([DlmsData.uint32(self.value(3, ENERGY)[2].value)])
        notification = xdlms.DataNotification(1, body).to_bytes()
        if protected.value:
            notification = wrap_general_glo(self.security, notification)
        # The caller holds the lock that `push_before_response` takes.
        self.pending_pushes.append(SimulatedPush(notification))

    def value(self, class_id, name):
        return self.objects[next(key for key in self.objects if key[0] == class_id and str(key[1]) == str(self._name(name)))]

    @staticmethod
    def _name(name):
        from pydlms.obis import ObisCode

        return ObisCode.parse(name)

    def _identity(self, options):
        self.add_object(1, "0.0.42.0.0.255", {2: DlmsData.octet_string(f"{options.system_title}0000".encode("ascii"))})
        self.add_object(1, "0.0.96.1.0.255", {2: DlmsData.octet_string(options.serial.encode("ascii"))})
        self.add_object(8, "0.0.1.0.0.255", {2: date_time(now()), 3: DlmsData.int16(0), 4: DlmsData.uint8(0)})

    def _energy(self, options):
        watt_hours = DlmsData.structure([DlmsData.int8(0), DlmsData.enum(30)])
        watts = DlmsData.structure([DlmsData.int8(0), DlmsData.enum(27)])
        self.add_object(3, ENERGY, {2: DlmsData.uint32(options.energy_wh), 3: watt_hours})
        self.add_object(3, POWER, {2: DlmsData.uint32(options.power_w), 3: watts})
        columns = [
            DlmsData.structure([DlmsData.uint16(c), logical_name(n), DlmsData.int8(2), DlmsData.uint16(0)])
            for c, n in ((8, "0.0.1.0.0.255"), (3, ENERGY))
        ]
        rows = [
            DlmsData.structure([date_time(options.profile_start + QUARTER_HOUR * i), DlmsData.uint32(options.energy_wh + 25 * i)])
            for i in range(options.rows)
        ]
        self.add_object(7, PROFILE, {
            2: DlmsData.array(rows),
            3: DlmsData.array(columns),
            4: DlmsData.uint32(900),
            5: DlmsData.enum(1),
            6: columns[0],
            7: DlmsData.uint32(len(rows)),
            8: DlmsData.uint32(len(rows)),
        }, version=1)

    def _payment(self, options):
        self.add_object(111, ACCOUNT, {
            2: DlmsData.structure([DlmsData.enum(2), DlmsData.enum(2)]),
            3: DlmsData.uint8(1),
            4: bits("10000000"),
            5: DlmsData.int32(options.credit_wh),
            6: DlmsData.int32(0),
            9: DlmsData.array([logical_name(CREDIT)]),
            15: DlmsData.structure([DlmsData(DataType.UTF8_STRING, "Wh"), DlmsData.int8(0), DlmsData.enum(1)]),
            16: DlmsData.int32(2000),
        })
        self.add_object(112, CREDIT, {
            2: DlmsData.int32(options.credit_wh),
            3: DlmsData.enum(0),
            4: DlmsData.uint8(1),
            5: DlmsData.int32(2000),
            6: DlmsData.int32(0),
            8: DlmsData.enum(3),
        })
        self.add_object(115, TOKEN_GATEWAY, {
            2: DlmsData.octet_string(b""),
            3: date_time(now()),
            4: DlmsData.array([]),
            5: DlmsData.enum(REMOTE),
            6: DlmsData.structure([DlmsData.enum(0), bits("00000000")]),
        })
        self.add_method(115, TOKEN_GATEWAY, 1, Meter.enter)

    def _relay(self):
        self.add_object(70, RELAY, {2: DlmsData.boolean(True), 3: DlmsData.enum(1), 4: DlmsData.enum(4)})
        self.add_method(70, RELAY, 1, lambda meter, _: meter.switch(False))
        self.add_method(70, RELAY, 2, lambda meter, _: meter.switch(True))

    def enter(self, octets):
        """Token gateway, method 1: each token counts once; the status says what happened."""
        digits = bytes(octets.value).decode("ascii", "replace")
        if len(digits) != DIGITS or not digits.isdigit():
            status = FORMAT_FAILURE
        elif digits in self.used:
            status = VALIDATION_FAILURE
        elif self.worth.get(digits, self.worth_of_any) is None:
            status = AUTHENTICATION_FAILURE
        else:
            status = EXECUTION_OK
            self.used.add(digits)
            credit, account = self.value(112, CREDIT), self.value(111, ACCOUNT)
            credit[2] = DlmsData.int32(credit[2].value + self.worth.get(digits, self.worth_of_any))
            account[5] = credit[2]
            self.switch(True)
        gateway = self.value(115, TOKEN_GATEWAY)
        gateway[2] = DlmsData.octet_string(bytes(octets.value))
        gateway[3] = date_time(now())
        gateway[6] = DlmsData.structure([DlmsData.enum(status), bits("00000000")])
        say(event="token", digits=digits, status=status, credit_wh=self.value(112, CREDIT)[2].value)

    def switch(self, closed):
        relay = self.value(70, RELAY)
        relay[2], relay[3] = DlmsData.boolean(closed), DlmsData.enum(int(closed))
        self.value(3, POWER)[2] = DlmsData.uint32(self.power_w if closed else 0)
        say(event="relay", closed=closed)


def worth(text):
    digits, _, watt_hours = text.partition("=")
    return digits, int(watt_hours)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--framing", choices=("wrapper", "hdlc"), default="wrapper")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--serial", default="01000000016", help="serial number, 11-digit DRN")
    parser.add_argument("--system-title", default="PYDMETER")
    parser.add_argument("--credit-wh", type=int, default=10_000)
    parser.add_argument("--energy-wh", type=int, default=1_234_567)
    parser.add_argument("--power-w", type=int, default=420)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--profile-start", type=datetime.datetime.fromisoformat, default=datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc))
    parser.add_argument("--wide", action="store_true", help="a client address for every mechanism, with and without ciphering")
    parser.add_argument("--short-names", action="store_true", help="some objects have short names too; needs --wide")
    parser.add_argument("--max-pdu", type=int, default=512)
    parser.add_argument("--token", type=worth, action="append", default=[], metavar="DIGITS=WH")
    parser.add_argument("--any-token-wh", type=int, help="what a token that nobody named is worth")
    options = parser.parse_args()
    meter = Meter(options)
    server = serve(meter, options.host, options.port, options.framing == "hdlc")
    say(event="listening", host=server.server_address[0], port=server.server_address[1])
    threading.Event().wait()


if __name__ == "__main__":
    main()
