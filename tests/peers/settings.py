"""The reference meter's defaults: addresses, passwords and the keys of the Green Book's examples; and ways to associate."""

import dataclasses

CLIENT = {"public": 16, "reader": 17, "vending": 18, "management": 1}
SERVER = 1
PASSWORD = "Reader01"
# Largest APDU of the wide meter.
PDU = 1024
ENCRYPTION_KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
AUTHENTICATION_KEY = bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
# Password and shared secret of the wide associations: 16 bytes, a whole block for mechanism 2.
WIDE_SECRET = "Reader01Reader01"
# Suite 2 takes keys of 32 bytes.
WIDE_ENCRYPTION_KEY = bytes([0x11] * 32)
WIDE_AUTHENTICATION_KEY = bytes([0x22] * 32)
# Signing keys for mechanism 7, this byte over and over on P-256 (32) and P-384 (48): the clients' own, and the meter's, of which
# clients use the public half.
CLIENT_SIGNING_BYTE = 0x5C
METER_SIGNING_BYTE = 0x3E
# The same for key agreement.
CLIENT_AGREEMENT_BYTE = 0x5A
METER_AGREEMENT_BYTE = 0x3A
MASTER_KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
WIDE_MASTER_KEY = bytes([0x33] * 32)
# Client addresses of the pre-established associations, plain and ciphered, and the title that the meter knows the client by.
PRE_ESTABLISHED = (0x48, 0x49)
PRE_ESTABLISHED_TITLE = b"PRE" + bytes([0, 0, 0, 0, 1])
DEDICATED_KEY = bytes([0x5A] * 16)
WIDE_DEDICATED_KEY = bytes([0x5A] * 32)


@dataclasses.dataclass(frozen=True)
class Way:
    """How a client associates: its address, a mechanism from 0 (none) and 1 (password) to 7, and a protection: plain, glo,
    ded, general-glo, general-ded, general-signing (around glo), or general-ciphering, with how its key comes about behind it."""

    sap: int
    mechanism: int = 0
    protection: str = "plain"
    suite: int = 0
    # General block transfer is agreed on, and no other blocks for what is read.
    general_blocks: bool = False

    @property
    def ciphered(self):
        return self.protection != "plain"

    @property
    def dedicated(self):
        return self.protection.endswith("ded")

    @property
    def general(self):
        return self.protection.startswith("general")

    @property
    def counts(self):
        """Whether it uses an invocation counter: for ciphering, or for GMAC."""
        return self.ciphered or self.mechanism == 5

    @property
    def secret(self):
        """The password, or the shared secret of a mechanism that has one."""
        return {0: None, 5: None, 7: None}.get(self.mechanism, PASSWORD if self.sap in CLIENT.values() else WIDE_SECRET)

    @property
    def encryption_key(self):
        return WIDE_ENCRYPTION_KEY if self.suite == 2 else ENCRYPTION_KEY

    @property
    def master_key(self):
        return WIDE_MASTER_KEY if self.suite == 2 else MASTER_KEY

    @property
    def dedicated_key(self):
        return WIDE_DEDICATED_KEY if self.suite == 2 else DEDICATED_KEY

    def private_key(self, byte):
        return bytes([byte] * (48 if self.suite == 2 else 32))

    def authentication_key(self, options):
        return WIDE_AUTHENTICATION_KEY if self.suite == 2 else options.authentication_key


# The reference meter's associations.
ACCESS = {
    "public": Way(16),
    "reader": Way(17, 1),
    "vending": Way(18, 5, "glo"),
    "management": Way(1, 5, "glo"),
}


def title(prefix, sap):
    """A client system title: one per library and client address, so that counters never collide."""
    return prefix + sap.to_bytes(5, "big")
