"""`pydlms-client` as a client: wrapper or HDLC over TCP; none, LLS, HLS-GMAC with glo-ciphering."""

import datetime

from pydlms import DlmsClient, Mechanism, SecurityContext
from pydlms.apdu import xdlms
from pydlms.cosem.data import DlmsData
from pydlms.cosem.enums import DataAccessResult
from pydlms.cosem.time import CosemDateTime
from pydlms.exceptions import DlmsError

import settings
from story import INVOCATION_COUNTER, Refused


class Client:
    features = {"entry", "range", "list"}

    def __init__(self, options):
        self.options = options

    def open(self, access):
        more = {}
        if access == "reader":
            more = {"mechanism": Mechanism.LLS, "password": settings.PASSWORD}
        elif access in ("vending", "management"):
            first = Client(self.options)
            first.open("public")
            counter = first.get(*INVOCATION_COUNTER)
            first.close()
            more = {
                "mechanism": Mechanism.HLS_GMAC,
                "security": SecurityContext(
                    encryption_key=settings.ENCRYPTION_KEY,
                    authentication_key=self.options.authentication_key,
                    client_system_title=settings.title(b"PYD", access),
                    invocation_counter=counter + 1,
                ),
            }
        self.client = DlmsClient.tcp(
            self.options.host,
            self.options.port,
            client_sap=settings.CLIENT[access],
            server_logical=settings.SERVER,
            hdlc=self.options.framing == "hdlc",
            timeout=self.options.timeout,
            **more,
        )
        try:
            self.client.connect()
        except DlmsError as refusal:
            raise Refused(str(refusal)) from refusal

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

    def close(self):
        self.client.close()

    @staticmethod
    def _call(call):
        try:
            return call()
        except DlmsError as refusal:
            raise Refused(str(refusal)) from refusal
