# SPDX-License-Identifier: Apache-2.0
"""A client for the agent protocol (doc/agent-protocol.md) over any connected stream socket.

It follows the specification and shares no code with the program, so that the two check each other.
Every wait has a deadline and fails with socket.timeout or Closed.
"""

import select
import socket
import struct
import time

HELLO, CALL, REPLY, DATA, CREDIT, SIGNAL, RESIZE, END, RESET, LOG = range(1, 11)
STDIN, STDOUT, STDERR = 0, 1, 2
(PING, CONFIGURE, HEALTH, EXEC, PREPARE, RESTORED, THAW, SHUTDOWN) = range(1, 9)
REHEARSE = 12
PROCESSES = 15
REHEARSAL_STREAM = 0xffffffff
PATIENCE_S = 200.0 # for events that must happen, even on a slow or busy machine
WINDOW = 256 * 1024
DATA_MAX = 32768

FIELDS = (
    "CALL STATUS MESSAGE PROTOCOL VERSION KERNEL TIME_NS UPTIME_NS FROZEN HOSTNAME MACHINE_ID "
    "ENTROPY GENERATION ADDRESS GATEWAY DNS ARG ENV WORKDIR USER RESTORE_ARG STAGE HEALTH_HTTP "
    "HEALTH_TCP INTERVAL_MS TIMEOUT_MS TTY ROWS COLUMNS STDIN PID NONCE EXIT_CODE SIGNAL JSON "
    "PATH NAME CONTENTS FOLLOW NONCE_SHA256 MEMORY_BYTES BOOT_ID BACK HOLD OWNER SIZE REASON "
    "RESTORE_SIGNAL RESTORE_RESTART HOLES NO_WORKLOAD SEVER SYNC NOTE PORT ENDED INPUT_ENDED"
).split()
TAGS = {name: number + 1 for number, name in enumerate(FIELDS)}
NUMBERS = set(
    "CALL STATUS PROTOCOL TIME_NS UPTIME_NS FROZEN HEALTH_TCP INTERVAL_MS TIMEOUT_MS TTY ROWS "
    "COLUMNS STDIN PID EXIT_CODE SIGNAL CONTENTS FOLLOW MEMORY_BYTES BACK HOLD OWNER SIZE "
    "RESTORE_SIGNAL RESTORE_RESTART HOLES NO_WORKLOAD SEVER SYNC PORT ENDED INPUT_ENDED".split()
)
LISTS = {"ARG", "ENV", "RESTORE_ARG", "STAGE"}
BYTES = {"ENTROPY", "NONCE"}


class Closed(Exception):
    """The other side has closed the connection."""


class Refused(Exception):
    """A reply whose STATUS is not 0."""

    def __init__(self, fields):
        self.status = fields["STATUS"]
        self.message = fields.get("MESSAGE", "")
        super().__init__(f"status {self.status}: {self.message}")


def encode(**fields):
    """Encode fields as a payload.  A list becomes a repeated field."""
    out = b""
    for name, value in fields.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, int):
                item = struct.pack("<Q", item)
            elif isinstance(item, str):
                item = item.encode()
            out += struct.pack("<HI", TAGS[name], len(item)) + item
    return out


def decode(payload):
    """Decode a payload into a dict.  Fields that may repeat are lists."""
    fields, at = {}, 0
    while at < len(payload):
        tag, length = struct.unpack_from("<HI", payload, at)
        at += 6
        if at + length > len(payload):
            raise ValueError("a field is cut")
        value = payload[at : at + length]
        at += length
        if not 1 <= tag <= len(FIELDS):
            continue
        name = FIELDS[tag - 1]
        if name in NUMBERS:
            value = struct.unpack("<Q", value)[0]
        elif name not in BYTES:
            value = value.decode()
        if name in LISTS:
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value
    return fields


def frame(kind, stream, payload=b""):
    return struct.pack("<IIB3x", len(payload), stream, kind) + payload


class Result:
    """A command's output and its end: one of code and signal is None."""

    def __init__(self):
        self.out = {STDOUT: b"", STDERR: b""}
        self.ended = set()
        self.code = self.signal = None

    @property
    def stdout(self):
        return self.out[STDOUT]

    @property
    def stderr(self):
        return self.out[STDERR]


class Agent:
    """One connection.  It keeps frames of other streams, so streams can be used side by side."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.waiting = {}
        self.log = b"" # the workload's output so far
        self.last_id = 0

    def send(self, kind, stream, payload=b"", deadline=None):
        deadline = deadline or time.monotonic() + PATIENCE_S
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        self.sock.sendall(frame(kind, stream, payload))

    def _frame(self, deadline):
        while True:
            if len(self.buffer) >= 12:
                length, stream, kind = struct.unpack_from("<IIB", self.buffer)
                if len(self.buffer) >= 12 + length:
                    payload = self.buffer[12 : 12 + length]
                    self.buffer = self.buffer[12 + length :]
                    return kind, stream, payload
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise socket.timeout("no frame in time")
            chunk = self.sock.recv(1 << 16)
            if not chunk:
                raise Closed()
            self.buffer += chunk

    def receive(self, stream, timeout=PATIENCE_S):
        """Wait for the next frame of one stream; returns (kind, payload)."""
        deadline = time.monotonic() + timeout
        while not self.waiting.get(stream):
            kind, other, payload = self._frame(deadline)
            if (kind, other) == (LOG, 0):
                self.log += payload
                continue
            self.waiting.setdefault(other, []).append((kind, payload))
        return self.waiting[stream].pop(0)

    def hello(self, timeout=PATIENCE_S):
        kind, payload = self.receive(0, timeout)
        if kind != HELLO:
            raise ValueError(f"frame {kind} instead of HELLO")
        return decode(payload)

    def open(self, call, **fields):
        """Send a call without waiting.  Returns its stream."""
        self.last_id += 1
        self.send(CALL, self.last_id, encode(CALL=call, **fields))
        return self.last_id

    def open_all(self, *calls):
        """Send calls without arguments in one piece.  Returns their streams."""
        streams = range(self.last_id + 1, self.last_id + 1 + len(calls))
        self.last_id += len(calls)
        self.sock.sendall(b"".join(frame(CALL, stream, encode(CALL=call))
                                   for stream, call in zip(streams, calls)))
        return streams

    def reply(self, stream, timeout=PATIENCE_S):
        kind, payload = self.receive(stream, timeout)
        if kind != REPLY:
            raise ValueError(f"frame {kind} instead of REPLY")
        fields = decode(payload)
        if fields["STATUS"]:
            raise Refused(fields)
        return fields

    def call(self, call, timeout=PATIENCE_S, **fields):
        return self.reply(self.open(call, **fields), timeout)

    def start(self, *argv, timeout=PATIENCE_S, **fields):
        """CALL_EXEC up to its reply.  Returns the stream."""
        stream = self.open(EXEC, ARG=list(argv), **fields)
        self.reply(stream, timeout)
        return stream

    def finish(self, stream, stdin=None, timeout=PATIENCE_S, credit=True):
        """Feed stdin and collect output until END, within the windows of both sides."""
        result, window, closed = Result(), WINDOW, stdin is None
        deadline = time.monotonic() + timeout
        while True:
            while not closed and (window > 0 or not stdin):
                piece = stdin[: min(window, DATA_MAX)]
                stdin = stdin[len(piece) :]
                self.send(DATA, stream, bytes([STDIN]) + piece, deadline)
                window -= len(piece)
                closed = not piece
            kind, payload = self.receive(stream, deadline - time.monotonic())
            if kind == CREDIT:
                window += struct.unpack("<I", payload)[0]
            elif kind == DATA:
                if len(payload) == 1:
                    result.ended.add(payload[0])
                result.out[payload[0]] += payload[1:]
                if credit and len(payload) > 1:
                    self.send(CREDIT, stream, struct.pack("<I", len(payload) - 1), deadline)
            elif kind == END:
                fields = decode(payload)
                result.code, result.signal = fields.get("EXIT_CODE"), fields.get("SIGNAL")
                return result
            else:
                raise ValueError(f"frame {kind} on a command's stream")

    def run(self, *argv, stdin=None, timeout=PATIENCE_S, **fields):
        if stdin is not None:
            fields["STDIN"] = 1
        return self.finish(self.start(*argv, **fields), stdin, timeout)
