"""Touches memory once: machines that get theirs lazily from a host would bill its first user for it."""

import sys

megabytes = int(sys.argv[1])
block = 64
for _ in [bytearray(block << 20) for _ in range(megabytes // block)]:
    pass
