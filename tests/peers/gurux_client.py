"""`gurux-dlms` as a client: wrapper or HDLC over TCP; none, LLS, HLS-GMAC with glo-ciphering."""

import contextlib
import io
import socket

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, DataType, InterfaceType, ObjectType, Security
from gurux_dlms.GXDLMSClient import GXDLMSClient
from gurux_dlms.GXDLMSException import GXDLMSException
from gurux_dlms.GXDateTime import GXDateTime
from gurux_dlms.secure import GXDLMSSecureClient

import settings
from story import INVOCATION_COUNTER, Refused

AUTHENTICATION = {
    "public": Authentication.NONE,
    "reader": Authentication.LOW,
    "vending": Authentication.HIGH_GMAC,
    "management": Authentication.HIGH_GMAC,
}


class Client:
    features = {"entry", "range", "list"}

    def __init__(self, options):
        self.options = options
        self.hdlc = options.framing == "hdlc"

    def open(self, access):
        secured = AUTHENTICATION[access] == Authentication.HIGH_GMAC
        counter = None
        if secured:
            # The counter to continue from is public; without it the meter would take us for a replay.
            first = Client(self.options)
            first.open("public")
            counter = first.get(*INVOCATION_COUNTER)
            first.close()
        self.secured = secured
        self.socket = socket.create_connection((self.options.host, self.options.port), timeout=self.options.timeout)
        self.client = GXDLMSSecureClient(
            True,
            settings.CLIENT[access],
            settings.SERVER,
            AUTHENTICATION[access],
            settings.PASSWORD if access == "reader" else None,
            InterfaceType.HDLC if self.hdlc else InterfaceType.WRAPPER,
        )
        if secured:
            ciphering = self.client.ciphering
            ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            ciphering.systemTitle = bytearray(settings.title(b"GRX", access))
            ciphering.blockCipherKey = bytearray(settings.ENCRYPTION_KEY)
            ciphering.authenticationKey = bytearray(self.options.authentication_key)
            ciphering.invocationCounter = counter + 1
        try:
            if self.hdlc:
                self.client.parseUAResponse(self._exchange(self.client.snrmRequest()).data)
            self.client.parseAareResponse(self._exchange(self.client.aarqRequest()).data)
            if self.client.isAuthenticationRequired:
                reply = self._exchange(self.client.getApplicationAssociationRequest())
                self.client.parseApplicationAssociationResponse(reply.data)
        except (GXDLMSException, ValueError) as refusal:
            raise Refused(str(refusal)) from refusal

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

    def close(self):
        release = self.client.releaseRequest()
        if release:
            self._exchange(release)
        if self.hdlc:
            self._exchange(self.client.disconnectRequest())
        self.socket.close()

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
            self.socket.sendall(bytes(request))
        received = GXByteBuffer()
        # The library prints to standard output, where our result goes.
        with contextlib.redirect_stdout(io.StringIO()):
            while True:
                octets = self.socket.recv(4096)
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
