"""`pydlms-client` as a client: wrapper or HDLC over TCP; none, LLS, HLS-GMAC with glo-ciphering."""

import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from pydlms import DlmsClient, Mechanism, SecurityContext
from pydlms.apdu import xdlms
from pydlms.apdu.xdlms import Conformance
from pydlms.cosem.data import DlmsData
from pydlms.cosem.enums import DataAccessResult
from pydlms.cosem.time import CosemDateTime
from pydlms.exceptions import DlmsError, ServiceError
from pydlms.push import PushDecoder
from pydlms.security.general import ONE_PASS_DH, STATIC_UNIFIED_MODEL, GeneralAad, KeyInfo

import settings
from story import INVOCATION_COUNTER, LOGICAL_DEVICE_NAME, Refused


class Client:
    features = {"entry", "range", "list", "set", "set in blocks", "general blocks", "exception", "general-ciphering", "general-signing"}

    def __init__(self, options):
        self.options = options
        self.client = None

    def open(self, access):
        self.associate(settings.ACCESS[access])

    def associate(self, way):
        more = {"mechanism": Mechanism(way.mechanism)}
        if way.secret:
            more["password"] = way.secret
        if way.counts:
            first = Client(self.options)
            first.open("public")
            counter = first.get(*INVOCATION_COUNTER)
            first.close()
            more["security"] = SecurityContext(
                encryption_key=way.encryption_key,
                authentication_key=way.authentication_key(self.options),
                client_system_title=settings.title(b"PYD", way.sap),
                invocation_counter=counter + 1,
                suite=way.suite,
                master_key=way.master_key,
                # The library has both readings of what is authenticated, and asks which one.
                general_aad=GeneralAad.WITH_HEADER,
            )
            more["ciphered_context"] = way.ciphered
            more["use_dedicated_key"] = way.dedicated
            more["protection"] = "general-glo" if way.general else "glo"
            self._name_keys(way, more)
        if way.mechanism == 7:
            more["signing_key"] = private_key(way, settings.CLIENT_SIGNING_BYTE)
            more["server_public_key"] = private_key(way, settings.METER_SIGNING_BYTE).public_key()
        if way.mechanism == 6 and not way.counts:
            more["client_system_title"] = settings.title(b"PYD", way.sap)
        if way.general_blocks:
            services = Conformance.default_ln() & ~Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
            if way.general:
                services |= Conformance.GENERAL_PROTECTION
            # On HDLC a meter speaks when it is asked.
            window = 5 if self.options.framing == "wrapper" else 1
            more |= {"conformance": services, "propose_gbt": True, "gbt_window": window}
        more |= {"client_sap": way.sap, "server_logical": settings.SERVER, "timeout": self.options.timeout}
        if self.options.serial:
            self.client = DlmsClient.serial(self.options.serial, **more)
        else:
            hdlc = self.options.framing == "hdlc"
            self.client = DlmsClient.tcp(self.options.host, self.options.port, hdlc=hdlc, **more)
        try:
            self.client.connect()
        except DlmsError as refusal:
            raise Refused(str(refusal)) from refusal

    @staticmethod
    def _name_keys(way, more):
        """General-ciphering and general-signing."""
        form, _, how = way.protection.partition(" ")
        if form not in ("general-ciphering", "general-signing"):
            return
        more["protection"] = {"general-signing": "glo+signing"}.get(form, form)
        more["key_info"] = {
            "": KeyInfo("identified"),
            "(wrapped key)": KeyInfo("wrapped"),
            "(one-pass)": KeyInfo("agreed", scheme=ONE_PASS_DH),
            "(static keys)": KeyInfo("agreed", scheme=STATIC_UNIFIED_MODEL),
        }[how]
        if way.suite:
            security = more["security"]
            security.signing_key = private_key(way, settings.CLIENT_SIGNING_BYTE)
            security.peer_signing_key = private_key(way, settings.METER_SIGNING_BYTE).public_key()
            security.key_agreement_key = private_key(way, settings.CLIENT_AGREEMENT_BYTE)
            security.peer_key_agreement_key = private_key(way, settings.METER_AGREEMENT_BYTE).public_key()

    def get(self, class_id, name, index):
        return self._call(lambda: self.client.get(name, class_id, index)).to_python()

    def get_list(self, items):
        values = self._call(lambda: self.client.get_many([(name, class_id, index) for class_id, name, index in items]))
        for value in values:
            if isinstance(value, DataAccessResult):
                raise Refused(str(value))
        return [value.to_python() for value in values]

    def profile_by_entry(self, name, first, last):
        selection = xdlms.entry_descriptor(first, last)
        return self._call(lambda: self.client.get(name, 7, 2, selection)).to_python()

    def profile_by_range(self, name, start, end):
        utc = datetime.timezone.utc
        ends = [DlmsData.octet_string(CosemDateTime.from_datetime(at.replace(tzinfo=utc)).to_bytes()) for at in (start, end)]
        selection = xdlms.range_descriptor(*ends)
        return self._call(lambda: self.client.get(name, 7, 2, selection)).to_python()

    def action(self, class_id, name, index, value):
        data = DlmsData.int8(value) if isinstance(value, int) else DlmsData.octet_string(value)
        self._call(lambda: self.client.action(name, class_id, index, data))

    def set(self, class_id, name, index, value):
        self._call(lambda: self.client.set(name, class_id, index, DlmsData.octet_string(value)))

    def used_counter(self, way):
        """The exception to a request with a counter from before: the library counts upwards only, so behind its back."""
        self.associate(way)
        self.get(*LOGICAL_DEVICE_NAME)
        self.client.association.security._next_ic -= 3
        return self._exception(lambda: self.client.get(LOGICAL_DEVICE_NAME[1], 1, 2))

    def no_association(self, way):
        """The exception to a request after the release, which the library's own states would not let out."""
        self.associate(settings.Way(way.sap, way.mechanism))
        link = self.client.association.link
        self.client.association.release()
        class_id, name, index = LOGICAL_DEVICE_NAME
        obis = bytes(int(part) for part in name.split("."))
        answer = link.request(bytes([0xC0, 1, 0xC1, 0, class_id]) + obis + bytes([index, 0]))
        said = xdlms.decode_apdu(answer)
        return said.state_error, said.service_error, said.invocation_counter

    @staticmethod
    def _exception(call):
        try:
            call()
        except ServiceError as said:
            return said.result.state_error, said.result.service_error, said.result.invocation_counter
        return ()

    def abandon(self):
        if self.client:
            self.client.close()

    def close(self):
        self.client.close()

    @staticmethod
    def _call(call):
        try:
            return call()
        except DlmsError as refusal:
            raise Refused(str(refusal)) from refusal


def private_key(way, byte):
    curve = ec.SECP384R1() if way.suite == 2 else ec.SECP256R1()
    return ec.derive_private_key(int.from_bytes(way.private_key(byte), "big"), curve)


def push_values(octets, meter_title, way):
    """What a DataNotification in the wrapper carries, as plain values."""
    security = SecurityContext(
        encryption_key=way.encryption_key,
        authentication_key=settings.AUTHENTICATION_KEY,
        client_system_title=settings.title(b"PYD", way.sap),
        server_system_title=meter_title,
    )
    (message,) = PushDecoder(framing="wrapper", security=security if way.ciphered else None).feed(octets)
    return message.notification.body.to_python()
