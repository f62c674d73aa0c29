"""`gurux-dlms` as a client: wrapper or HDLC over TCP; none, LLS, HLS-GMAC with glo-ciphering."""

import contextlib
import io
import socket

import serial
from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.ecdsa.GXPrivateKey import GXPrivateKey
from gurux_dlms.enums import Authentication, Conformance, DataType, InterfaceType, ObjectType, Security
from gurux_dlms.GXDLMSClient import GXDLMSClient
from gurux_dlms.GXDLMSException import GXDLMSException
from gurux_dlms.GXDLMSExceptionResponse import GXDLMSExceptionResponse
from gurux_dlms.GXDateTime import GXDateTime
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient

import mode_e
import settings
from story import INVOCATION_COUNTER, LOGICAL_DEVICE_NAME, Refused

AUTHENTICATION = {
    0: Authentication.NONE,
    1: Authentication.LOW,
    2: Authentication.HIGH,
    3: Authentication.HIGH_MD5,
    4: Authentication.HIGH_SHA1,
    5: Authentication.HIGH_GMAC,
    6: Authentication.HIGH_SHA256,
    7: Authentication.HIGH_ECDSA,
}
SUITES = (SecuritySuite.SUITE_0, SecuritySuite.SUITE_1, SecuritySuite.SUITE_2)


class Line:
    """TCP, or a serial device where there is one."""

    def __init__(self, options):
        self.device = self.socket = None
        if options.serial:
            self.device = serial.Serial(options.serial, 9600, timeout=options.timeout)
        else:
            self.socket = socket.create_connection((options.host, options.port), timeout=options.timeout)
            if options.mode_e:
                mode_e.sign_on(self.socket, options.timeout)

    def send(self, octets):
        self.device.write(octets) if self.device else self.socket.sendall(octets)

    def receive(self):
        """Whatever has come, at least a byte; nothing when the connection ended or the time is over."""
        return self.device.read(max(1, self.device.in_waiting)) if self.device else self.socket.recv(4096)

    def close(self):
        (self.device or self.socket).close()


class Client:
    features = {
        "entry", "range", "list", "set", "set in blocks", "general blocks", "exception", "pre-established",
    }

    def __init__(self, options):
        self.options = options
        self.line = None
        self.hdlc = options.framing != "wrapper"

    def open(self, access):
        self.associate(settings.ACCESS[access])

    def associate(self, way):
        self._connect(way)
        try:
            self.client.parseAareResponse(self._exchange(self.client.aarqRequest()).data)
            if self.client.isAuthenticationRequired:
                reply = self._exchange(self.client.getApplicationAssociationRequest())
                self.client.parseApplicationAssociationResponse(reply.data)
        except (GXDLMSException, ValueError) as refusal:
            raise Refused(str(refusal)) from refusal

    def pre_established(self, way, meter_title):
        self._connect(way)
        conformance = self.client.proposedConformance
        self.client.settings.negotiatedConformance = conformance
        self.client.settings.maxPduSize = settings.PDU
        if way.ciphered:
            self.client.ciphering.systemTitle = bytearray(settings.PRE_ESTABLISHED_TITLE)
            self.client.serverSystemTitle = bytearray(meter_title)
            # Answers in the service-specific form name no sender.
            self.client.settings.sourceSystemTitle = bytearray(meter_title)

    def used_counter(self, way):
        """The exception to a request with a counter from before."""
        self.associate(way)
        self.get(*LOGICAL_DEVICE_NAME)
        self.client.ciphering.invocationCounter -= 3
        return self._exception()

    def no_association(self, way):
        """The exception to a request without an association."""
        self._connect(way)
        return self._exception()

    def _exception(self):
        class_id, name, index = LOGICAL_DEVICE_NAME
        try:
            self._exchange(self.client.read(self._object(class_id, name), index))
        except GXDLMSExceptionResponse as said:
            return int(said.exceptionStateError), int(said.exceptionServiceError), said.serviceErrorValue
        return ()

    def _connect(self, way):
        counter = None
        if way.counts:
            # The counter to continue from is public; without it the meter would take us for a replay.
            first = Client(self.options)
            first.open("public")
            counter = first.get(*INVOCATION_COUNTER)
            first.close()
        self.line = Line(self.options)
        self.client = GXDLMSSecureClient(
            True,
            way.sap,
            settings.SERVER,
            AUTHENTICATION[way.mechanism],
            way.secret,
            InterfaceType.HDLC if self.hdlc else InterfaceType.WRAPPER,
        )
        self._protect(way, counter)
        if way.general_blocks:
            self.client.proposedConformance |= Conformance.GENERAL_BLOCK_TRANSFER
            self.client.proposedConformance &= ~Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
            # On HDLC a meter speaks when it is asked.
            self.client.settings.gbtWindowSize = 1 if self.hdlc else 5
        if self.hdlc:
            self.client.parseUAResponse(self._exchange(self.client.snrmRequest()).data)

    def _protect(self, way, counter):
        ciphering = self.client.ciphering
        if way.counts or way.mechanism > 1:
            ciphering.systemTitle = bytearray(settings.title(b"GRX", way.sap))
        if way.counts:
            ciphering.securitySuite = SUITES[way.suite]
            ciphering.blockCipherKey = bytearray(way.encryption_key)
            ciphering.authenticationKey = bytearray(way.authentication_key(self.options))
            ciphering.invocationCounter = counter + 1
        if way.mechanism == 7:
            # The other side's public key, and our private one.
            meter = GXPrivateKey.fromRawBytes(bytearray(way.private_key(settings.METER_SIGNING_BYTE)))
            client = GXPrivateKey.fromRawBytes(bytearray(way.private_key(settings.CLIENT_SIGNING_BYTE)))
            ciphering.signingKeyPair = (meter.getPublicKey(), client)
        if way.ciphered:
            ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        if way.dedicated:
            ciphering.dedicatedKey = bytearray(way.dedicated_key)
        if not way.general:
            # With it the library speaks the general forms wherever it ciphers.
            self.client.proposedConformance &= ~Conformance.GENERAL_PROTECTION

    def get(self, class_id, name, index):
        return plain(self._value(self.client.read(self._object(class_id, name), index)))

    def get_list(self, items):
        objects = [(self._object(c, n), i) for c, n, i in items]
        values = []
        for requests in self.client.readList(objects):
            values.extend(self._value(requests))
        return plain(values)

    def profile_by_entry(self, name, first, last):
        profile = self._object(7, name)
        return plain(self._value(self.client.readRowsByEntry(profile, first, last - first + 1)))

    def profile_by_range(self, name, start, end):
        profile = self._object(7, name)
        # `start` is the meter's wall clock; without this, gurux converts to this machine's zone.
        times = []
        for at in (start, end):
            time = GXDateTime(at)
            time.skip = 0x100  # deviation not specified
            times.append(time)
        return plain(self._value(self.client.readRowsByRange(profile, *times)))

    def action(self, class_id, name, index, value):
        kind = DataType.INT8 if isinstance(value, int) else DataType.OCTET_STRING
        self._value(self.client.method(self._object(class_id, name), index, value, kind))

    def set(self, class_id, name, index, value):
        data = self._object(class_id, name)
        data.value = bytearray(value)
        data.setDataType(index, DataType.OCTET_STRING)
        self._value(self.client.write(data, index))

    def abandon(self):
        if self.line:
            self.line.close()

    def close(self):
        release = self.client.releaseRequest()
        if release:
            self._exchange(release)
        if self.hdlc:
            self._exchange(self.client.disconnectRequest())
        self.line.close()

    @staticmethod
    def _object(class_id, name):
        created = GXDLMSClient.createObject(ObjectType(class_id))
        created.logicalName = name
        return created

    def _value(self, requests):
        try:
            return self._exchange(requests).value
        except GXDLMSException as refusal:
            raise Refused(str(refusal)) from refusal

    def _exchange(self, requests):
        """Sends each request and reads until the reply is complete, block by block."""
        reply = GXReplyData()
        for request in [requests] if isinstance(requests, (bytes, bytearray)) else requests:
            reply.clear()
            self._send(request, reply)
            while reply.isMoreData():
                more = None if reply.isStreaming() else self.client.receiverReady(reply)
                self._send(more, reply)
        return reply

    def _send(self, request, reply):
        if request:
            self.line.send(bytes(request))
        received = GXByteBuffer()
        # The library prints to standard output, where our result goes.
        with contextlib.redirect_stdout(io.StringIO()):
            while True:
                octets = self.line.receive()
                if not octets:
                    raise ConnectionError("the meter closed the connection")
                received.set(octets)
                if self.client.getData(received, reply):
                    break
        if reply.error:
            raise GXDLMSException(reply.error)


def plain(value):
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, bytes)):
        return value
    return int(value) if hasattr(value, "__int__") else value


def push_values(octets, _meter_title, way):
    """What a DataNotification in the wrapper carries, as plain values."""
    client = GXDLMSSecureClient(True, way.sap, settings.SERVER, Authentication.NONE, None, InterfaceType.WRAPPER)
    if way.ciphered:
        ciphering = client.ciphering
        ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        ciphering.systemTitle = bytearray(settings.title(b"GRX", way.sap))
        ciphering.blockCipherKey = bytearray(way.encryption_key)
        ciphering.authenticationKey = bytearray(settings.AUTHENTICATION_KEY)
    reply, notify = GXReplyData(), GXReplyData()
    client.getData(GXByteBuffer(octets), reply, notify)
    return plain(notify.value if notify.value is not None else reply.value)
