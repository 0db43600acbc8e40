# SPDX-License-Identifier: Apache-2.0
"""Long calls of the library can be cancelled, and then leave no more behind than a failure."""

import ctypes
import errno
import fcntl
import os

import guests
import harness

END, WAIT = 2, 5
COLD = 1


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("reason", ctypes.c_char * 32),
                ("subject", ctypes.c_char * 128), ("hint", ctypes.c_char * 512),
                ("text", ctypes.c_char * 1024)]


class Event(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("text", ctypes.c_char_p)]


Receiver = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Event))


class Progress(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("fn", Receiver), ("arg", ctypes.c_void_p),
                ("cancel_fd", ctypes.POINTER(ctypes.c_int))]


class BuildOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("snapshot", ctypes.c_bool), ("force", ctypes.c_bool),
                ("rest", ctypes.c_char * 256)]  # zeros, up to the size of the first layout


class StartOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("template_ref", ctypes.c_char_p), ("name", ctypes.c_char_p),
                ("attached", ctypes.c_bool), ("held", ctypes.c_bool), ("kind", ctypes.c_int),
                ("rest", ctypes.c_char * 512)]


class Canceller:
    """A receiver that cancels the work when a message contains a word, or at an event of a kind."""

    def __init__(self, word, by_return, kind=None):
        self.word, self.by_return, self.heard, self.ended = word, by_return, [], []
        self.kind, self.kinds = kind, []
        self.event_fd = os.eventfd(0)
        self.descriptor = ctypes.c_int(self.event_fd)
        self.receiver = Receiver(self.hear)
        self.progress = Progress(ctypes.sizeof(Progress), self.receiver, None,
                                 ctypes.pointer(self.descriptor))

    def hear(self, _arg, event):
        text = event.contents.text.decode()
        self.heard.append(text)
        self.kinds.append(event.contents.kind)
        if event.contents.kind == END:
            self.ended.append(text)
        if self.kind is not None and event.contents.kind != self.kind or self.word not in text:
            return 0
        if not self.by_return:
            os.eventfd_write(self.event_fd, 1)
        return self.by_return


@harness.needs_guests
class Cancel(guests.TestCase):
    config = guests.CONFIG

    def setUp(self):
        super().setUp()
        self.own_data()
        programs = os.path.dirname(os.path.abspath(harness.MVM))
        os.environ["MVM_LIBEXEC_DIR"] = programs
        self.addCleanup(os.environ.pop, "MVM_LIBEXEC_DIR")
        self.lib = ctypes.CDLL(os.path.join(programs, "lib", "libmvm.so"))
        self.error = Error()

    def call(self, name, *args):
        """Call a function with a new context, and close the context with its scratch folder."""
        handle = ctypes.c_void_p()
        self.assertEqual(self.lib.mvm_open(self.data_dir.encode(), ctypes.byref(handle),
                                           ctypes.byref(self.error)), 0, self.error.text)
        try:
            return getattr(self.lib, name)(handle, *args, ctypes.byref(self.error))
        finally:
            self.lib.mvm_close(handle)

    def assert_cancelled(self, status):
        self.assertEqual(status, -errno.ECANCELED, self.error.text)
        self.assertIn(b"cancelled", self.error.text)

    def build(self, canceller, **options):
        return self.call("mvm_template_build", b"web-worker",
                         ctypes.byref(BuildOptions(0, **options)),
                         ctypes.byref(canceller.progress), None)

    def test_a_build_stops_at_a_descriptor_or_a_receivers_word(self):
        before = self.current("web-worker")
        for word in ("booting", "root image"):
            for by_return in (0, 1):
                with self.subTest(word=word, by_return=by_return):
                    if word == "root image":
                        self.change_source()
                    canceller = Canceller(word, by_return)
                    self.assert_cancelled(self.build(canceller, snapshot=True, force=True))
                    self.assertTrue(any(word in text for text in canceller.heard))
                    # the step under way did not go on to its end
                    self.assertFalse(any(word in text for text in canceller.ended), canceller.heard)
                    self.assert_nothing_left()
                    self.assertEqual(self.current("web-worker"), before)
        self.mvm_ok("template", "verify")

    def change_source(self):
        """Make the next image so large that its build outlasts the tenth of a second between two checks."""
        more = os.path.join(self.root, "more")
        if not os.path.exists(more):
            self.addCleanup(os.unlink, more)
        with open(more, "wb") as file:
            file.write(os.urandom(64 << 20))

    def test_waiting_for_another_build_can_be_cancelled(self):
        with open(self.data("locks", "template.web-worker"), "w", encoding="ascii") as lock:
            os.chmod(lock.fileno(), 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            for by_return in (0, 1):
                with self.subTest(by_return=by_return):
                    self.assert_cancelled(self.build(Canceller("waiting for process", by_return)))
        self.assertEqual(self.build(Canceller("never said", 0)), 0, self.error.text)

    def test_a_start_that_is_cancelled_leaves_no_instance(self):
        canceller = Canceller("never said", 0)
        os.eventfd_write(canceller.event_fd, 1)
        instance = ctypes.c_void_p()
        status = self.call("mvm_instance_start", ctypes.byref(StartOptions(0, b"web-worker")),
                           ctypes.byref(canceller.progress), ctypes.byref(instance))
        self.assertEqual(status, -errno.ECANCELED, self.error.text)
        self.assertIsNone(instance.value)
        self.assert_nothing_left()

    def test_an_instance_whose_next_start_is_cancelled_stays(self):
        self.run_detached("web-worker", "--name", "mine")
        self.mvm_ok("stop", "mine")
        instance = ctypes.c_void_p()
        for by_return in (0, 1):
            with self.subTest(by_return=by_return):
                canceller = Canceller("", by_return, kind=WAIT)
                status = self.call("mvm_instance_start_again", b"mine",
                                   ctypes.byref(canceller.progress), ctypes.byref(instance))
                self.assertEqual(status, -errno.ECANCELED, self.error.text)
                self.assertEqual(self.inspect("mine")["state"], "exited")
        self.mvm_ok("start", "mine")
        self.assertEqual(self.exec("mine", "echo", "alive"), "alive\n")

    def test_a_start_asks_its_receiver_while_it_waits(self):
        canceller = Canceller("", 1, kind=WAIT)
        options = StartOptions(0, b"web-worker", kind=COLD)
        instance = ctypes.c_void_p()
        status = self.call("mvm_instance_start", ctypes.byref(options),
                           ctypes.byref(canceller.progress), ctypes.byref(instance))
        self.assertEqual(status, -errno.ECANCELED, self.error.text)
        self.assertEqual(canceller.kinds.count(WAIT), 1)
        self.assert_nothing_left()


if __name__ == "__main__":
    guests.main()
