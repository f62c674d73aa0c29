"""`dlms-cosem` as a client: wrapper over TCP, HDLC on a serial device; none, LLS, HLS-GMAC with general-glo-ciphering."""

import dataclasses
import datetime
import logging

import structlog
from dlms_cosem import a_xdr, connection, cosem, dlms_data, enumerations, exceptions
from dlms_cosem.client import ActionError, DataResultError, DlmsClient, HLSError
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.io import BlockingTcpIO, HdlcTransport, SerialIO, TcpTransport
from dlms_cosem.protocol.xdlms.conformance import Conformance
from dlms_cosem.security import (
    HighLevelSecurityCommonAuthentication,
    HighLevelSecurityGmacAuthentication,
    LowLevelSecurityAuthentication,
    NoSecurityAuthentication,
)

import settings
from operations import NotOffered
from story import INVOCATION_COUNTER, LOGICAL_DEVICE_NAME, Refused

WRAPPER_HEADER = 8
EMPTY_READ_S = 0.3

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class Client:
    features = {"range", "list", "set", "exception", "pre-established"}

    def __init__(self, options):
        self.options = options
        self.client = None

    def open(self, access):
        way = settings.ACCESS[access]
        # The library has one form of ciphering.
        self.associate(dataclasses.replace(way, protection="general-glo") if way.ciphered else way)

    def associate(self, way):
        keys = {}
        if way.protection not in ("plain", "general-glo"):
            raise NotOffered(way.protection)
        if way.mechanism not in (0, 1, 2, 5):
            raise NotOffered(f"mechanism {way.mechanism}")
        if way.mechanism == 5 and not way.ciphered:
            raise NotOffered("GMAC without ciphering")
        if way.ciphered:
            first = Client(self.options)
            first.open("public")
            counter = first.get(*INVOCATION_COUNTER)
            first.close()
            keys = {
                "encryption_key": way.encryption_key,
                "authentication_key": way.authentication_key(self.options),
                "security_suite": way.suite,
                "client_system_title": settings.title(b"DCO", way.sap),
                "client_initial_invocation_counter": counter + 1,
                # The library wants the meter's counter to be larger than this, and a new meter starts at 0.
                "meter_initial_invocation_counter": -1,
            }
        secret = (way.secret or "").encode()
        authentication = {
            0: NoSecurityAuthentication,
            1: lambda: LowLevelSecurityAuthentication(secret=secret),
            2: lambda: HighLevelSecurityCommonAuthentication(secret=secret),
            5: lambda: HighLevelSecurityGmacAuthentication(challenge_length=16),
        }[way.mechanism]()
        self.client = DlmsClient(transport=self._transport(way.sap), authentication=authentication, **keys)
        self.client.connect()
        try:
            self.client.associate()
        except (exceptions.DlmsClientException, HLSError) as refusal:
            raise Refused(str(refusal)) from refusal

    def pre_established(self, way, meter_title):
        if way.protection not in ("plain", "general-glo"):
            raise NotOffered(way.protection)
        keys = {}
        if way.ciphered:
            first = Client(self.options)
            first.open("public")
            counter = first.get(*INVOCATION_COUNTER)
            first.close()
            keys = {
                "global_encryption_key": way.encryption_key,
                "global_authentication_key": way.authentication_key(self.options),
                "client_invocation_counter": counter + 1,
                "meter_invocation_counter": -1,
                "client_system_title": settings.PRE_ESTABLISHED_TITLE,
                "meter_system_title": meter_title,
            }
        self._without_aarq(way, keys)

    def _without_aarq(self, way, keys):
        services = Conformance(get=True, set=True, multiple_references=True, general_protection=way.ciphered)
        association = connection.DlmsConnection.with_pre_established_association(services, settings.PDU, **keys)
        authentication = NoSecurityAuthentication()
        self.client = DlmsClient(self._transport(way.sap), authentication, dlms_connection=association)
        self.client.connect()

    def used_counter(self, way):
        """The exception to a request with a counter from before."""
        self.associate(way)
        self.get(*LOGICAL_DEVICE_NAME)
        self.client.dlms_connection.client_invocation_counter -= 3
        return self._exception()

    def no_association(self, way):
        """The exception to a request without an association: the library's own states do not let it out otherwise."""
        self._without_aarq(way, {})
        return self._exception()

    def _exception(self):
        try:
            self.get_list([LOGICAL_DEVICE_NAME])
        except exceptions.DlmsClientException as said:
            numbers = {"SERVICE_NOT_ALLOWED": 1, "OPERATION_NOT_POSSIBLE": 1, "INVOCATION_COUNTER_ERROR": 6}
            words = str(said).replace(":", " ").split()
            # The library passes on both names and no counter.
            return (*[numbers[word] for word in words if word in numbers], None)
        return ()

    def _transport(self, sap):
        options = self.options
        if options.framing != "wrapper":
            # A frame with a flag among its bytes may be parsed only when the next read has come back empty.
            io = SerialIO(options.serial, timeout=EMPTY_READ_S) if options.serial else BlockingTcpIO(options.host, options.port, options.timeout)
            return HdlcTransport(sap, settings.SERVER, io)
        io = BlockingTcpIO(options.host, options.port, options.timeout)
        return TcpTransport(sap, settings.SERVER, io)

    def get(self, class_id, name, index):
        return self._get(class_id, name, index, None)

    def get_list(self, items):
        wanted = [cosem.CosemAttributeWithSelection(self._attribute(*item), None) for item in items]
        values = plain(self.client.get_many(wanted).result)
        if any(isinstance(value, enumerations.DataAccessResult) for value in values):
            raise Refused(str(values))
        return values

    def profile_by_range(self, name, start, end):
        clock = cosem.CosemAttribute(enumerations.CosemInterface.CLOCK, cosem.Obis.from_string("0.0.1.0.0.255"), 2)
        utc = datetime.timezone.utc
        selection = RangeDescriptor(CaptureObject(clock), start.replace(tzinfo=utc), end.replace(tzinfo=utc))
        return self._get(7, name, 2, selection)

    def _get(self, class_id, name, index, selection):
        try:
            octets = self.client.get(self._attribute(class_id, name, index), selection)
        except DataResultError as refusal:
            raise Refused(str(refusal)) from refusal
        return decode(octets)

    @staticmethod
    def _attribute(class_id, name, index):
        return cosem.CosemAttribute(enumerations.CosemInterface(class_id), cosem.Obis.from_string(name), index)

    def action(self, class_id, name, index, value):
        method = cosem.CosemMethod(enumerations.CosemInterface(class_id), cosem.Obis.from_string(name), index)
        data = dlms_data.IntegerData(value) if isinstance(value, int) else dlms_data.OctetStringData(value)
        try:
            self.client.action(method, data.to_bytes())
        except ActionError as refusal:
            raise Refused(str(refusal)) from refusal

    def set(self, class_id, name, index, value):
        response = self.client.set(self._attribute(class_id, name, index), dlms_data.OctetStringData(value).to_bytes())
        if response.result != enumerations.DataAccessResult.SUCCESS:
            raise Refused(str(response))

    def abandon(self):
        if self.client:
            self.client.disconnect()

    def close(self):
        self.client.release_association()
        self.client.disconnect()


def decode(octets):
    decoder = a_xdr.AXdrDecoder(encoding_conf=a_xdr.EncodingConf(attributes=[a_xdr.Sequence(attribute_name="data")]))
    try:
        return plain(decoder.decode(octets)["data"])
    except NotImplementedError:
        # Version 25.1.0 has no bit-strings; the token status holds one, after an enum.
        return token_status(bytes(octets))


def token_status(octets):
    """`structure { enum, bit-string }`, the one value with a bit-string that the stories read."""
    if octets[:3] != b"\x02\x02\x16" or octets[4] != 0x04:
        raise NotImplementedError(f"a bit-string in {octets.hex()}")
    return [octets[3], octets[6:]]


def plain(value):
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def push_values(octets, meter_title, way):
    """What a DataNotification in the wrapper carries, as plain values."""
    keys = {}
    if way.ciphered:
        keys = {
            "global_encryption_key": way.encryption_key,
            "global_authentication_key": settings.AUTHENTICATION_KEY,
            "client_system_title": settings.title(b"DCO", way.sap),
            "meter_system_title": meter_title,
            "client_invocation_counter": 0,
            "meter_invocation_counter": -1,
        }
    received = connection.DlmsConnection.with_pre_established_association(conformance=Conformance(), **keys)
    received.receive_data(octets[WRAPPER_HEADER:])
    return decode(received.next_event().body)
