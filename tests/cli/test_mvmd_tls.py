# SPDX-License-Identifier: Apache-2.0
"""mvmd on TCP with TLS, without guests."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import unittest

import harness
import test_mvmd


@unittest.skipUnless(shutil.which("openssl"), "needs openssl for a certificate")
class Tls(test_mvmd.Case):
    options = ()

    def certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", self.path("key.pem"), "-out", self.path("cert.pem"), "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        os.chmod(self.path("key.pem"), 0o600)
        return "--tls-cert", self.path("cert.pem"), "--tls-key", self.path("key.pem")

    def test_tls_has_a_lowest_version_and_needs_a_token(self):
        tls = self.certificate()
        for least, client, ok in ("1.2", ssl.TLSVersion.TLSv1_2, True), ("1.3", ssl.TLSVersion.TLSv1_2, False), \
                ("1.3", ssl.TLSVersion.TLSv1_3, True):
            self.end_mvmd()
            self.start_mvmd("--tcp", "127.0.0.1:0", *tls, "--tls-min", least)
            context = ssl.create_default_context(cafile=self.path("cert.pem"))
            context.maximum_version = client
            c = http.client.HTTPSConnection("localhost", self.port(), timeout=harness.PATIENCE_S, context=context)
            if ok:
                self.assertEqual(self.ask(connection=c)[0], 401)
            else:
                self.assertRaises(OSError, self.ask, connection=c)
        self.assertNotIn(b"200", self.raw(b"GET /v1 HTTP/1.0\r\n\r\n"))

    def refused(self, *options, status=1):
        done = subprocess.run([test_mvmd.MVMD, "--data-dir", self.data_dir, "--socket", self.path("other.sock"), *options],
                              capture_output=True, text=True, env=self.environment(), check=False,
                              timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def test_the_network_needs_tls_and_a_secret_key(self):
        tls = self.certificate()
        self.assertIn("hint: mvmd --tls-cert FILE --tls-key FILE", self.refused("--tcp", "0.0.0.0:0"))
        os.chmod(self.path("key.pem"), 0o644)
        self.assertIn("everybody may read the key", self.refused("--tcp", "127.0.0.1:0", *tls))
        os.chmod(self.path("key.pem"), 0o600)
        self.assertIn("cannot start the HTTP server",
                      self.refused("--tcp", "127.0.0.1:0", "--tls-cert", tls[3], "--tls-key", tls[3]))

    def test_a_wrong_address_opens_no_socket(self):
        for wrong in "localhost:8800", ":8800", "127.0.0.1", "127.0.0.1:99999":
            said = self.refused("--tcp", wrong, status=2)
            self.assertEqual(said, f"mvmd: '{wrong}' is no numeric address with a port\nhint: mvmd --tcp 127.0.0.1:8800\n")

    def test_a_taken_port_has_a_hint(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            self.assertIn(f"hint: ss -ltnp 'sport = :{port}' shows who does",
                          self.refused("--tcp", f"127.0.0.1:{port}"))


if __name__ == "__main__":
    harness.main()
