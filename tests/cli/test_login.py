# SPDX-License-Identifier: Apache-2.0
"""Logins at a real registry, Debian's docker-registry, in the files of docker and podman."""

import base64
import json
import os
import subprocess
import unittest

import harness
import registries
from registries import Registry, Stub

FAILED, USAGE, NOT_FOUND, DAMAGED = 1, 2, 3, 5
PASSWORD = "s3cret:w\u00f6rd"
HELPER = """#!/bin/sh
# keeps one login in a file beside it, as docker's helpers do in a keychain
kept={folder}/kept
case $1 in
store) cat >$kept ;;
get) if [ -e $kept ]; then cat $kept; else echo credentials not found in native keychain; exit 1; fi ;;
erase) rm $kept ;;
esac
"""


class LoginCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.docker = self.path(".docker/config.json")

    def environment(self, extra=None):
        env = {"XDG_RUNTIME_DIR": self.path("run"), **(extra or {})}
        return super().environment(env)

    def log_in(self, host, password=PASSWORD, status=0, env=None):
        return self.mvm("login", host, "-u", "me", "--password-stdin", stdin=password + "\n", status=status, env=env)

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def skopeo(self, *args, env=None, **more):
        return subprocess.run(["skopeo", *args], env=self.environment(env), text=True, capture_output=True, check=True,
                              **more).stdout.strip()


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
@harness.needs_program("htpasswd")
class Files(LoginCase):
    def setUp(self):
        super().setUp()
        self.registry = self.enterContext(
            Registry(self.folder, auth=registries.only_for(self.folder, "me", PASSWORD)))
        self.host = self.registry.host

    def may_read(self, env=None):
        """Does mvm's login open the registry?  There is no such tag, which only a known user is told."""
        done = self.mvm("template", "pull", f"{self.host}/a:v1", env=env)
        self.assertIn(done.returncode, (FAILED, NOT_FOUND), done.stderr)
        return done.returncode == NOT_FOUND

    def test_a_password_is_checked_and_kept_beside_others(self):
        others = {"auths": {"other.example": {"auth": "eDp5"}, f"https://{self.host}/v1/": {"auth": "eDp5"}},
                  "HttpHeaders": {"X-A": "b"}, "detachKeys": "ctrl-x"}
        self.write(".docker/real.json", json.dumps(others), 0o644)
        os.symlink("real.json", self.docker)
        self.assertIn(f"{self.host} refuses this user name or password", self.log_in(self.host, "no", FAILED).stderr)
        self.assertEqual(self.read(self.docker), others)
        self.assertFalse(self.may_read())
        done = self.log_in(self.host)
        self.assertNotIn(PASSWORD, done.stdout + done.stderr)
        self.assertTrue(os.path.islink(self.docker)) # the user's own link stays
        self.assertEqual(os.stat(self.docker).st_mode & 0o777, 0o600)
        coded = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        kept = {**others, "auths": {"other.example": {"auth": "eDp5"}, self.host: {"auth": coded}}}
        self.assertEqual(self.read(self.docker), kept)
        self.assertEqual(sorted(os.listdir(self.path(".docker"))), ["config.json", "real.json"])
        self.assertTrue(self.may_read())
        kept["auths"][f"{self.host}/team"] = {"auth": coded} # podman's
        self.write(".docker/config.json", json.dumps(kept))
        done = self.mvm("logout", self.host, "--json", status=0)
        self.assertEqual(json.loads(done.stdout), {"registry": self.host, "files": [self.docker]})
        self.assertIn(f"the login for '{self.host}/team' stays in ", done.stderr)
        self.assertNotIn("other.example", done.stderr)
        del kept["auths"][self.host]
        self.assertEqual(self.read(self.docker), kept)
        self.mvm_fails(NOT_FOUND, "logout", self.host, says="there is no login for")

    @harness.needs_program("skopeo")
    def test_skopeo_reads_ours_and_we_read_skopeos(self):
        own = {"REGISTRY_AUTH_FILE": self.path("auth.json")}
        os.makedirs(self.path("run"))
        for env in None, own:
            with self.subTest(env=env):
                self.log_in(self.host, env=env)
                self.assertEqual(os.path.exists(self.docker), env is None)
                self.assertEqual(self.skopeo("login", "--get-login", self.host, env=env), "me")
                self.mvm_ok("logout", self.host, env=env)
                if env is None:
                    os.unlink(self.docker)
        for env in None, own:
            with self.subTest(env=env):
                self.skopeo("login", "--tls-verify=false", "-u", "me", "--password-stdin", self.host, env=env,
                            input=PASSWORD)
                self.assertFalse(os.path.exists(self.docker))
                self.assertTrue(self.may_read(env))
                files = self.mvm_json("logout", self.host, env=env)["files"]
                self.assertEqual(files, [self.path("auth.json" if env else "run/containers/auth.json")])
                self.assertFalse(self.may_read(env))

    def test_what_login_wrote_comes_first(self):
        """$REGISTRY_AUTH_FILE is where a login goes, so an older one of docker's must not hide it."""
        self.write(".docker/config.json", json.dumps({"auths": {self.host: {"auth": "eDp5"}}}))
        env = {"REGISTRY_AUTH_FILE": "auth.json"} # may be relative
        self.log_in(self.host, env=env)
        self.assertTrue(self.may_read(env))
        self.assertFalse(self.may_read())
        self.assertEqual(self.mvm_json("logout", self.host, env=env)["files"], ["auth.json", self.docker])

    def test_a_helper_has_the_password(self):
        os.makedirs(self.path("bin"))
        helper = self.write("bin/docker-credential-test", HELPER.format(folder=self.path("bin")), 0o755)
        env = {"PATH": self.path("bin") + ":" + os.environ["PATH"]}
        for config in {"credsStore": "test"}, {"credHelpers": {self.host: "test"}}:
            self.write(".docker/config.json", json.dumps(config))
            self.log_in(self.host, env=env)
            self.assertEqual(self.read(self.docker), {**config, "auths": {self.host: {}}})
            self.assertEqual(self.read(self.path("bin/kept")),
                             {"ServerURL": self.host, "Username": "me", "Secret": PASSWORD})
            self.assertTrue(self.may_read(env))
            self.mvm_ok("logout", self.host, env=env)
            self.assertEqual(self.read(self.docker), {**config, "auths": {}})
            self.assertFalse(os.path.exists(self.path("bin/kept")))
            self.mvm_fails(NOT_FOUND, "logout", self.host, env=env)
        self.write("bin/docker-credential-test", "#!/bin/sh\necho the keychain is locked\nexit 1\n", 0o755)
        self.assertIn("cannot store the credentials of", self.log_in(self.host, status=FAILED, env=env).stderr)
        os.unlink(helper)
        self.assertIn("docker's config.json names this program", self.log_in(self.host, status=FAILED, env=env).stderr)
        self.assertEqual(self.read(self.docker), {**config, "auths": {}})

    def test_a_file_that_makes_no_sense_stays(self):
        for text in "{", "[]", '{"auths": 5}', '{"credsStore": "../x"}':
            self.write(".docker/config.json", text)
            self.assertIn("config.json", self.log_in(self.host, status=DAMAGED).stderr)
            with open(self.docker, encoding="utf-8") as file:
                self.assertEqual(file.read(), text)
        self.write(".docker/config.json", "") # as docker makes it for a moment
        self.log_in(self.host)

    def test_logins_at_the_same_time_are_all_kept(self):
        hosts = [self.host, self.host.replace("127.0.0.1", "localhost")]
        args = [[harness.MVM, "login", host, "-u", "me", "--password-stdin"] for host in hosts * 4]
        running = [subprocess.Popen(a, env=self.environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for a in args]
        for process in running:
            process.stdin.write(PASSWORD.encode())
            process.stdin.close()
        self.assertEqual([p.wait(harness.PATIENCE_S) for p in running], [0] * 8)
        self.assertEqual(sorted(self.read(self.docker)["auths"]), sorted(hosts))

    def test_a_terminal_is_asked_and_does_not_show_the_password(self):
        status, shown = self.answer_on_terminal(
            [(b"user name: ", b"me\n"), (b"password: ", PASSWORD.encode() + b"\n")], "login", self.host)
        self.assertEqual(status, 0, shown)
        self.assertIn(b"logged in as me", shown)
        self.assertNotIn(b"s3cret", shown)
        self.assertTrue(self.may_read())


class Checks(LoginCase):
    def test_usage(self):
        self.mvm_fails(USAGE, "login", "r.example", says="give --user and --password-stdin")
        self.mvm_fails(USAGE, "login", "r.example", "--password-stdin", stdin="x", says="--password-stdin needs --user")
        self.mvm_fails(FAILED, "login", "r.example", "-u", "me", "--password-stdin", stdin="", says="the password is empty")
        self.mvm_fails(USAGE, "login", "nothost", "-u", "me", "--password-stdin", stdin="x", says="is no registry")
        self.mvm_fails(FAILED, "login", "r.example", "-u", "a:b", "--password-stdin", stdin="x", says="no colon")
        self.mvm_fails(FAILED, "login", "127.0.0.1:1", "-u", "me", "--password-stdin", stdin="x", says="cannot log in at")
        self.assertFalse(os.path.exists(self.docker))

    def test_a_registry_by_its_ipv6_address(self):
        def answer(request):
            good = request.headers.get("Authorization") == "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
            request.reply(200 if good else 401, b"{}", WWW_Authenticate='Basic realm="r"')
            return True
        with Stub(answer, address="::1") as stub:
            self.log_in(stub.host)
            self.assertEqual(list(self.read(self.docker)["auths"]), [stub.host])
            self.mvm_ok("logout", stub.host)

    def test_a_token_service_decides(self):
        """As at Docker Hub: a token without a repository, then the registry's word on it."""
        def answer(request):
            who = request.headers.get("Authorization") or ""
            if request.path.startswith("/token"):
                good = who == "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
                request.reply(200 if good else 401, b'{"token": "t0ken"}' if good else b'{"details": "wrong password"}')
            elif who == "Bearer t0ken":
                request.reply(200, b"{}")
            else:
                request.reply(401, b"{}", WWW_Authenticate=f'Bearer realm="http://{stub.host}/token",service="s"')
            return True
        stub = self.enterContext(Stub(answer))
        self.log_in(stub.host, "no", FAILED)
        self.assertFalse(os.path.exists(self.docker))
        self.log_in(stub.host)
        self.assertIn(stub.host, self.read(self.docker)["auths"])
        paths = [path for _, path, _ in stub.seen]
        self.assertEqual(paths[-3:], ["/v2/", "/token?service=s", "/v2/"])

    def test_a_registry_for_everybody_cannot_check(self):
        stub = self.enterContext(Stub(lambda request: request.reply(200, b"{}") or True))
        done = self.log_in(stub.host)
        self.assertIn("so this one was not checked", done.stderr)
        self.assertTrue(all("Authorization" not in headers for _, _, headers in stub.seen))


if __name__ == "__main__":
    harness.main()
