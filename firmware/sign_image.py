#!/usr/bin/env python3
"""Makes a signed firmware image of a program: the header of `src/image/format.rs`, and the program behind it.

usage: sign_image.py PROGRAM.bin IMAGE --model TEXT --version X.Y.Z --key KEY.pem

PROGRAM.bin is what `build-image` leaves beside the ELF file. KEY.pem is a private key on P-256; `openssl` signs with it, so it may
as well be one that an engine of openssl's reaches.
"""
import argparse
import hashlib
import struct
import subprocess
import sys


def raw_signature(der: bytes) -> bytes:
    """r || s of a DER signature: SEQUENCE of two INTEGERs, short lengths on P-256."""
    if len(der) < 8 or der[0] != 0x30 or der[1] != len(der) - 2:
        sys.exit("sign_image: openssl gave no signature")
    out, at = b"", 2
    for _ in range(2):
        if der[at] != 2:
            sys.exit("sign_image: not a signature on P-256")
        length = der[at + 1]
        number = der[at + 2:at + 2 + length].lstrip(b"\0")
        out += number.rjust(32, b"\0")
        at += 2 + length
    if len(out) != 64:
        sys.exit("sign_image: not a signature on P-256")
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("image")
    parser.add_argument("--model", required=True, help="at most 8 characters")
    parser.add_argument("--version", required=True, help="X.Y.Z")
    parser.add_argument("--key", required=True)
    args = parser.parse_args()
    model = args.model.encode("ascii")
    version = [int(part) for part in args.version.split(".")]
    if len(model) > 8 or len(version) != 3 or not all(0 <= part < 65_536 for part in version):
        sys.exit("sign_image: a model of at most 8 characters and a version X.Y.Z")
    with open(args.program, "rb") as file:
        program = file.read()
    signed = b"MGWI\x01\0" + model.ljust(8, b"\0") + struct.pack("<3HI", *version, len(program))
    signed += hashlib.sha256(program).digest()
    der = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", args.key], input=signed, capture_output=True, check=False
    )
    if der.returncode != 0:
        sys.exit("sign_image: " + der.stderr.decode(errors="replace").strip())
    header = (signed + raw_signature(der.stdout)).ljust(128, b"\0")
    with open(args.image, "wb") as file:
        file.write(header + program)


if __name__ == "__main__":
    main()
