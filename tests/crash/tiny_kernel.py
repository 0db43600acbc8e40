# SPDX-License-Identifier: Apache-2.0
"""A guest kernel for tests that start no guest."""

import gzip
import struct


def tiny_kernel(version, config=None, pvh=True):
    """An ELF program for x86-64 with Linux's banner: `kernel add` accepts it, but it cannot boot.
    config: its configuration (CONFIG_IKCONFIG); pvh: with a PVH entry."""
    text = f"Linux version {version} (nobody@nowhere)\0".encode()
    if config is not None:
        text += b"IKCFG_ST" + gzip.compress(config.encode(), mtime=0) + b"IKCFG_ED"
    note = struct.pack("<III4sQ", 4, 8, 18, b"Xen\0", 0x1000) if pvh else b""
    start = 64 + 2 * 56
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2,
                         64, 0, 0)
    notes = struct.pack("<IIQQQQQQ", 4, 4, start, 0, 0, len(note), len(note), 4)
    size = start + len(note) + len(text)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    return header + segment + notes + note + text
