#!/usr/bin/env python3
"""Makes what a programmer writes to a new STM32F405 board, from the beginning of its flash: the boot loader, the program where
programs run, and the same as a signed image in bank A (the map: ../hardware/stm32f405.md).

usage: factory_image.py BOOT.bin IMAGE FLASH.bin

BOOT.bin is what `build-image stm32f405-boot` leaves beside its ELF file, IMAGE what `sign_image.py` makes of the meter's.
"""
import sys

HEADER = 128
RUN, BANK_A, BANK_BYTES = 0x2_0000, 0x6_0000, 0x4_0000
BOOT_BYTES = 0x4000


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        boot = file.read()
    with open(sys.argv[2], "rb") as file:
        image = file.read()
    if not image.startswith(b"MGWI"):
        sys.exit("factory_image: the second file is no signed image")
    if len(boot) > BOOT_BYTES or len(image) > BANK_BYTES:
        sys.exit(f"factory_image: at most {BOOT_BYTES} bytes of boot loader and {BANK_BYTES} of image")
    flash = boot.ljust(RUN, b"\xff") + image[HEADER:]
    with open(sys.argv[3], "wb") as file:
        file.write(flash.ljust(BANK_A, b"\xff") + image)


if __name__ == "__main__":
    main()
