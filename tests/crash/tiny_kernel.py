# SPDX-License-Identifier: Apache-2.0
"""A guest kernel for tests that start no guest."""

import struct


def tiny_kernel(version):
    """An ELF program for x86-64 with Linux's banner in it: enough to be added, not to boot."""
    text = f"Linux version {version} (nobody@nowhere)\0".encode()
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1,
                         64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 120 + len(text), 120 + len(text), 4096)
    return header + segment + text
