"""`pydlms-client` as the client that signs, against a simulated meter: HLS 7 in suite 1, keys agreed on, a key pair made anew and told
in a certificate request that `cryptography` reads.

    python signing_client.py --host 127.1.0.1 --port 4059 --meter-title-hex 4D47570000000001

Keys are those of simulator/README.md. Prints one line of JSON: each step with what came of it; exit code 0 when all held.
"""

import argparse
import json

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pydlms import DlmsClient, Mechanism, SecurityContext
from pydlms.cosem.data import DlmsData
from pydlms.exceptions import DlmsError
from pydlms.security.general import ONE_PASS_DH, STATIC_UNIFIED_MODEL, GeneralAad, KeyInfo
from pydlms.security.keywrap import KeyId

import settings

CLIENT = 19
SECURITY_SETUP = "0.0.43.0.1.255"
TITLE = bytes.fromhex("4D4D4D0000BC614E")
CLIENT_SIGNING = 0x418073C239FA6125011DE4D6CD2E645780289F761BB21BFB0835CB5585E8B373
CLIENT_AGREEMENT = 0xA51C16FF5C498FCC89323D4A9267CD71BF81FD6F6A891CD240DA7F3D6F283E65
METER_SIGNING = bytes.fromhex(
    "04933ACF15B03A9248E029B2787FB52A0AECAF635F07C42A0019FB3197E38F8F54"
    "9A125EA36781B0CA96BE89A0E1FE2CF9B7361ED48B3C5E24592B9C0F4EDD31D1"
)
METER_AGREEMENT = bytes.fromhex(
    "04A653565B0E06070BAE9FBE140A5D2156812AEE2DD525053E3EFC850BF13BFDFF"
    "CB240BC7B77BFF5883344E7275908D2287BEFA3725017295A096989D2338290B"
)
CURVE = ec.SECP256R1()
SIGNATURE, AGREEMENT = 0, 1


def public(point):
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point)


class Story:
    def __init__(self, options):
        self.options = options
        self.keys = {KeyId(0): settings.ENCRYPTION_KEY, KeyId(2): settings.AUTHENTICATION_KEY}
        self.meter_signing, self.meter_agreement = public(METER_SIGNING), public(METER_AGREEMENT)
        self.counter = 1

    def connect(self, **more):
        security = SecurityContext(
            encryption_key=self.keys[KeyId(0)],
            authentication_key=self.keys[KeyId(2)],
            client_system_title=TITLE,
            server_system_title=bytes.fromhex(self.options.meter_title_hex),
            invocation_counter=self.counter,
            suite=1,
            general_aad=GeneralAad.WITH_HEADER,
        )
        self.counter += 100
        security.signing_key = ec.derive_private_key(CLIENT_SIGNING, CURVE)
        security.key_agreement_key = ec.derive_private_key(CLIENT_AGREEMENT, CURVE)
        security.peer_signing_key, security.peer_key_agreement_key = self.meter_signing, self.meter_agreement
        client = DlmsClient.tcp(
            self.options.host, self.options.port, client_sap=CLIENT, server_logical=settings.SERVER, timeout=20.0,
            mechanism=Mechanism.HLS_ECDSA, security=security, signing_key=security.signing_key,
            server_public_key=self.meter_signing, **more,
        )
        client.connect()
        return client

    def read(self, **more):
        client = self.connect(**more)
        name = client.get("0.0.42.0.0.255", 1, 2).to_python()
        client.close()
        assert bytes(name).startswith(b"MGW"), name

    def signs(self):
        self.read()

    def general(self):
        for scheme in (ONE_PASS_DH, STATIC_UNIFIED_MODEL):
            self.read(protection="general-ciphering", key_info=KeyInfo("agreed", scheme=scheme))
        self.read(protection="glo+signing")

    def agrees(self):
        client = self.connect()
        new = client.agree_keys([0, 2], SECURITY_SETUP)
        client.close()
        try:
            self.read()
        except DlmsError:
            pass
        else:
            raise AssertionError("the old keys still open the meter")
        self.keys = new
        self.read()

    def key_pairs(self):
        client = self.connect()
        requested = {}
        for pair in (SIGNATURE, AGREEMENT):
            client.action(SECURITY_SETUP, 64, 4, DlmsData.enum(pair))
            request = bytes(client.action(SECURITY_SETUP, 64, 5, DlmsData.enum(pair)).to_python())
            request = x509.load_der_x509_csr(request)
            assert request.is_signature_valid
            assert request.subject.rfc4514_string() == f"CN={self.options.meter_title_hex.upper()}", request.subject
            requested[pair] = request.public_key()
        client.close()
        try:
            self.read()
        except DlmsError:
            pass
        else:
            raise AssertionError("the old public key still stands for the meter")
        self.meter_signing, self.meter_agreement = requested[SIGNATURE], requested[AGREEMENT]
        self.read(protection="general-ciphering", key_info=KeyInfo("agreed", scheme=STATIC_UNIFIED_MODEL))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--meter-title-hex", required=True)
    story, steps = Story(parser.parse_args()), {}
    for step in (story.signs, story.general, story.agrees, story.key_pairs):
        step()
        steps[step.__name__] = "held"
    print(json.dumps({"peer": "pydlms", "steps": steps}))


main()
