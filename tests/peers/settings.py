"""The reference meter's defaults: addresses, passwords and the keys of the Green Book's examples."""

CLIENT = {"public": 16, "reader": 17, "vending": 18, "management": 1}
SERVER = 1
PASSWORD = "Reader01"
ENCRYPTION_KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
AUTHENTICATION_KEY = bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")


def title(prefix, access):
    """A client system title: one per library and client address, so that counters never collide."""
    return prefix + CLIENT[access].to_bytes(5, "big")
