"""What fits in the four bytes of a length, what overflows, and the order of the bytes.

What the tutorials get wrong:
- They send the size of a file as struct.pack("i", size). The native "i" is signed and ends at
  2 GiB less one byte: a file of 1 TB ends the program with a struct.error. Four unsigned bytes,
  "I", end at 4 GiB less one byte. The size of a file needs eight, "Q", or a JSON number.
- "i" without a mark for the order uses that of the machine, so two different machines read
  different numbers. "!" is the order of the network, the most significant byte first.
- They pack several values one by one. One format packs them into one buffer; but without a mark
  for the order it also puts in padding, as the C compiler of the machine would.

A filexfer frame begins with "!I", and its length may only be from 1 to 65,536.

To run it, with filexfer installed or the folder above this one in PYTHONPATH:
    python samples/struct_lengths.py
"""

import argparse
import struct
import sys

from filexfer.wire import framing

SIZES = (0, 255, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 1024**4)


def packed(form: str, size: int) -> str:
    """Return the bytes of a size in hexadecimal, or why it has none."""
    try:
        return struct.pack(form, size).hex(" ")
    except struct.error as error:
        return f"struct.error: {error}"


def what_fits() -> None:
    """Print sizes up to 1 TB in three formats."""
    print("What fits: native 'i' (signed), '!I' (unsigned, four bytes), '!Q' (eight bytes)")
    for size in SIZES:
        for form in ("i", "!I", "!Q"):
            print(f"  {size:>13} as {form:2}: {packed(form, size)}")


def byte_order() -> None:
    """Print one number in several byte orders, and what reading the wrong order gives."""
    print(f"The order of the bytes (this machine is {sys.byteorder}-endian)")
    for form in ("i", "<i", ">i", "!I"):
        print(f"  1000 as {form:2}: {packed(form, 1000)}")
    (wrong,) = struct.unpack("<I", struct.pack("!I", 1000))
    print(f"  1000 packed as '!I' and unpacked as '<I' is {wrong}")


def one_buffer() -> None:
    """Print several values packed into one buffer: a kind, a size and a time."""
    print("Several values in one buffer")
    values = (7, 1024**4, 1_700_000_000)
    record = struct.Struct("!BQI")
    buffer = bytearray(2 * record.size)
    record.pack_into(buffer, 0, *values)
    record.pack_into(buffer, record.size, 8, 5, 0)
    print(f"  two records of '!BQI', {record.size} bytes each: {buffer.hex(' ')}")
    print(f"  the first again: {record.unpack_from(buffer, 0)}")
    print(f"  the second again: {record.unpack_from(buffer, record.size)}")
    print(f"  without '!' a record takes {struct.calcsize('BQI')} bytes here, with padding")


def frame_lengths() -> None:
    """Print which lengths a filexfer frame may have."""
    print("The length of a frame")
    for size in (0, 1, framing.MAX_FRAME, framing.MAX_FRAME + 1):
        try:
            head = framing.pack(bytes(size))[: framing.LENGTH.size].hex(" ")
        except framing.TooLong as error:
            head = f"refused: {error}"
        print(f"  {size:>5} bytes: {head}")


def main() -> None:
    """Print all of it."""
    argparse.ArgumentParser(description="Show what fits in a length of four bytes.").parse_args()
    for part in (what_fits, byte_order, one_buffer, frame_lengths):
        part()


if __name__ == "__main__":
    main()
