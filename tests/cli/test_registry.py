# SPDX-License-Identifier: Apache-2.0
"""Images straight from a real registry, Debian's docker-registry, on the loopback."""

import base64
import json
import os
import shutil
import subprocess
import unittest

import harness
import oci_images as oci
import registries
from oci_case import BASE, KERNEL, OciCase, run
from oci_images import file, tar_of
from registries import Registry, Stub

NOT_FOUND, BUSY = 3, 4


def an_image(*texts, **config):
    image = oci.Image(Cmd=["/bin/sh"], **config).layer(BASE)
    for text in texts:
        image.layer(tar_of(file("etc/text-" + text, text.encode())), "+zstd" if len(text) % 2 else "+gzip")
    return image


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
@harness.needs_program("skopeo")
class RegistryCase(OciCase):
    def setUp(self):
        super().setUp()
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")

    def serve(self, host="127.0.0.1", **more):
        registry = Registry(self.folder, host=host, **more)
        self.enterContext(registry)
        return registry

    def push(self, registry, image, name, *more):
        """Push an image; returns the layout's folder and the digest of the manifest there."""
        layout = self.path("image-" + name.replace("/", "-").replace(":", "-"))
        digest = image.save(layout, tag="v1")["digest"]
        registry.push(layout, "v1", name, *more)
        return layout, digest.removeprefix("sha256:")

    def create(self, ref, template="t"):
        self.mvm_ok("template", "create", template, "--flake", ref, "--force")

    def settings(self, text):
        with open(os.path.join(self.data_dir, "registries.toml"), "w", encoding="utf-8") as out:
            out.write(text)

    def login(self, entry, host, name=".docker/config.json"):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"auths": {host: entry}}, out)

    def pulled(self):
        folder = os.path.join(self.data_dir, "cache", "images")
        return sorted(os.listdir(folder)) if os.path.exists(folder) else []


class Pulling(RegistryCase):
    def test_it_is_the_image_that_the_registry_has(self):
        registry = self.serve()
        layout, digest = self.push(registry, an_image("one", "two"), "team/web:v1")
        registry.requests()
        self.create(registry.ref("team/web:v1"))
        proxy = {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""} # which is not for this machine
        done = self.mvm("template", "build", "t", status=0, env=proxy)
        self.assertIn("pulling", done.stderr)
        revision = self.revision()
        self.assertEqual(revision["flake_lock_hash"], digest)
        requests = registry.requests()
        self.assertEqual(requests[0], "HEAD /v2/team/web/manifests/v1")
        self.assertEqual(requests[1], f"GET /v2/team/web/manifests/sha256:{digest[:8]}")
        self.assertEqual(len(requests), 6, requests) # configuration and three layers
        ours = oci.digest_of_file(self.artifact("t", "rootfs.ext4"))
        self.build("oci:" + layout, "local", env={"SOURCE_DATE_EPOCH": "5"}) # not from the cache
        self.build("oci:" + layout, "local")
        self.assertEqual(oci.digest_of_file(self.artifact("local", "rootfs.ext4")), ours)
        # nothing moved: one question, and for a second template of other settings no more
        self.mvm_ok("template", "build", "t")
        self.assertEqual(registry.requests(), ["HEAD /v2/team/web/manifests/v1"])
        self.create(registry.ref("team/web:v1"), "t2")
        self.mvm_ok("template", "build", "t2", "--force")
        self.assertEqual(registry.requests(), ["HEAD /v2/team/web/manifests/v1"])
        # a digest asks nobody
        registry.process.kill()
        registry.process.wait()
        self.create(registry.ref("team/web@sha256:" + digest), "t3")
        self.mvm_ok("template", "build", "t3", "--force")
        self.mvm_fails(1, "template", "build", "t", says="cannot reach the registry " + registry.host)

    def test_images_share_layers_and_a_tag_may_move(self):
        registry = self.serve()
        self.push(registry, an_image("one"), "a:v1")
        self.create(registry.ref("a:v1"))
        self.mvm_ok("template", "build", "t")
        self.push(registry, an_image("one", "more"), "a:v1")
        registry.requests()
        self.mvm_ok("template", "build", "t")
        blobs = [line for line in registry.requests() if "/blobs/" in line]
        self.assertEqual(len(blobs), 2, blobs) # its configuration and the new layer
        self.assertEqual(len(self.pulled()), 2)

    def test_docker_manifests_and_lists_serve_this_platform(self):
        registry = self.serve()
        layout = self.path("lists")
        mine, other = an_image("mine"), oci.Image(arch="riscv64").layer(tar_of(file("other")))
        blobs, entries = {}, []
        for image in other, mine:
            entries.append(image.manifest() | {"platform": {"os": "linux",
                                                            "architecture": image.config["architecture"]}})
            blobs.update(image.blobs)
        text = json.dumps({"schemaVersion": 2, "mediaType": registries.INDEX, "manifests": entries}).encode()
        blobs[oci.digest(text)] = text
        oci.save_layout(layout, [{"mediaType": registries.INDEX, "digest": oci.digest(text), "size": len(text),
                                  "annotations": {"org.opencontainers.image.ref.name": "v1"}}], blobs)
        for form in ("--all",), ("--all", "--format", "v2s2"):
            with self.subTest(form=form):
                registry.push(layout, "v1", "many:v1", *form)
                self.create(registry.ref("many:v1"))
                self.mvm_ok("template", "build", "t", "--force")
                registry.requests()
                self.mvm_ok("template", "build", "t")
                self.assertEqual(registry.requests(), ["HEAD /v2/many/manifests/v1"])
        self.push(registry, oci.Image(arch="riscv64").layer(BASE), "foreign:v1")
        self.create(registry.ref("foreign:v1"))
        self.mvm_fails(NOT_FOUND, "template", "build", "t",
                       says=f"foreign:v1' is an image for linux/riscv64, not linux/{oci.ARCH}")

    def test_prune_takes_images_that_no_template_uses(self):
        registry = self.serve()
        self.push(registry, an_image("one"), "a:v1")
        self.create(registry.ref("a:v1"))
        self.mvm_ok("template", "build", "t")
        self.mvm_ok("template", "prune")
        self.assertEqual(len(self.pulled()), 1)
        registry.requests()
        self.mvm_ok("template", "build", "t", "--force")
        self.assertEqual(registry.requests(), ["HEAD /v2/a/manifests/v1"])
        foreign = os.path.join(self.data_dir, "cache", "images", self.pulled()[0], "notes.txt")
        with open(foreign, "wb") as out:
            out.write(b"mine")
        self.mvm_ok("template", "delete", "t", "--force")
        blobs = os.path.join(self.data_dir, "blobs", "sha256")
        before = set(os.listdir(blobs))
        dry = self.mvm_json("template", "prune", "--dry-run")
        self.assertEqual(set(os.listdir(blobs)), before)
        self.assertEqual(len(self.pulled()), 1)
        real = self.mvm_json("template", "prune")
        self.assertEqual(dry["freed_bytes"], real["freed_bytes"])
        self.assertLessEqual(len(os.listdir(blobs)), 1) # the kernel's
        self.assertEqual(os.listdir(os.path.dirname(foreign)), ["notes.txt"])

    def test_a_damaged_layer_is_fetched_again(self):
        registry = self.serve()
        image = an_image("one")
        self.push(registry, image, "a:v1")
        self.create(registry.ref("a:v1"))
        self.mvm_ok("template", "build", "t")
        hex_digest = image.layers[0]["digest"].removeprefix("sha256:")
        blob = os.path.join(self.data_dir, "blobs", "sha256", hex_digest)
        os.chmod(blob, 0o644)
        with open(blob, "r+b") as out:
            out.seek(100)
            out.write(b"damage")
        os.chmod(blob, 0o444)
        self.mvm_ok("template", "build", "t", "--force")
        self.assertEqual(oci.digest_of_file(blob), hex_digest)

    def test_errors_say_what_to_do(self):
        registry = self.serve()
        self.push(registry, an_image(), "a:v1")
        for ref, status, says in (
                (registry.ref("a:v2"), NOT_FOUND, f"{registry.host} has no tag 'v2' of 'a'"),
                (registry.ref("a:v3"), NOT_FOUND, f"hint: list the tags: mvm template list --remote {registry.host}/a"),
                (registry.ref("b"), NOT_FOUND, "has no tag 'latest' of 'b'"),
                (registry.ref("a@sha256:" + "0" * 64), NOT_FOUND, "has no manifest 'sha256:000"),
                (f"docker://127.0.0.1:{registries.free_port()}/a", 1,
                 "hint: check the name, the network and the proxy settings"),
                ("docker://registry.invalid/a", 1, "cannot reach the registry registry.invalid")):
            with self.subTest(ref=ref):
                self.create(ref)
                self.mvm_fails(status, "template", "build", "t", says=says)
        for ref, says in (("docker://A", "'A' names nothing in a registry"), ("docker://a@sha256:1", "64 digits"),
                          ("docker://", "docker://[HOST[:PORT]/]NAME[:TAG]")):
            self.mvm_fails(2, "template", "create", "bad", "--flake", ref, says=says)

    def test_two_pulls_share_one_run(self):
        registry = self.serve()
        image = oci.Image(Cmd=["x"]).layer(tar_of(file("big", os.urandom(8 << 20))))
        self.push(registry, image, "a:v1")
        registry.requests()
        running = []
        for name in "t1", "t2", "t3": # of other profiles, so that each has a build of its own
            self.mvm_ok("template", "create", name, "--flake", registry.ref("a:v1"), "--profile", name)
        for name in "t1", "t2", "t3":
            running.append(subprocess.Popen([harness.MVM, "template", "build", name, "--force"],
                                            env=self.environment(), stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE))
        for process in running:
            errors = process.communicate(timeout=self.timeout)[1]
            self.assertEqual(process.returncode, 0, errors)
        layer = image.layers[0]["digest"][:15]
        self.assertEqual(registry.requests().count("GET /v2/a/blobs/" + layer), 1)


class Credentials(RegistryCase):
    @harness.needs_program("htpasswd")
    def test_a_user_and_password_come_from_dockers_files(self):
        registry = self.serve(auth=registries.only_for(self.folder, "me", "secret:word"))
        self.push(registry, an_image(), "a:v1", "--dest-creds", "me:secret:word")
        self.create(registry.ref("a:v1"))
        self.mvm_fails(1, "template", "build", "t",
                       says=f"{registry.host} asks for a user name and a password\n"
                            f"hint: check the name, or log in as a user who may do this: mvm login {registry.host}")
        self.login({"auth": base64.b64encode(b"me:wrong").decode()}, registry.host)
        self.mvm_fails(1, "template", "build", "t", says="with the credentials of")
        good = {"auth": base64.b64encode(b"me:secret:word").decode()}
        for key in registry.host, f"https://{registry.host}/v2/", f"{registry.host}/a":
            self.login(good, key)
            self.mvm_ok("template", "build", "t")
        os.remove(self.path(".docker/config.json"))
        self.login(good, registry.host, "run/containers/auth.json")
        self.mvm_ok("template", "build", "t", env={"XDG_RUNTIME_DIR": self.path("run")})

    @harness.needs_program("htpasswd")
    def test_a_credential_helper_is_asked(self):
        registry = self.serve(auth=registries.only_for(self.folder, "me", "secret:word"))
        self.push(registry, an_image(), "a:v1", "--dest-creds", "me:secret:word")
        self.create(registry.ref("a:v1"))
        os.makedirs(self.path("bin"))
        helper = self.path("bin/docker-credential-test")
        env = {"PATH": self.path("bin") + ":" + os.environ["PATH"]}
        for config in {"credHelpers": {registry.host: "test"}}, {"credsStore": "test"}:
            os.makedirs(self.path(".docker"), exist_ok=True)
            with open(self.path(".docker/config.json"), "w", encoding="utf-8") as out:
                json.dump(config, out)
            with open(helper, "w", encoding="utf-8") as out:
                out.write(f"""#!/bin/sh
read -r server
[ "$server" = {registry.host} ] && [ "$1" = get ] || exit 9
echo '{{"ServerURL": "x", "Username": "me", "Secret": "secret:word"}}'
""")
            os.chmod(helper, 0o755)
            self.mvm_ok("template", "build", "t", env=env)
            with open(helper, "w", encoding="utf-8") as out:
                out.write("#!/bin/sh\necho credentials not found in native keychain\nexit 1\n")
            self.mvm_fails(1, "template", "build", "t", env=env, says="asks for a user name")
            with open(helper, "w", encoding="utf-8") as out:
                out.write("#!/bin/sh\nexit 1\n")
            self.mvm_fails(1, "template", "build", "t", env=env, says="docker-credential-test fails")

    def test_tokens_are_anonymous_or_the_users(self):
        asked = []

        def token(request):
            if not request.path.startswith("/token?"):
                return False
            asked.append((request.path, request.headers.get("Authorization")))
            request.reply(200, b'{"access_token": "t0ken", "expires_in": 60}')
            return True

        tokens = self.enterContext(Stub(token))
        registry = self.serve(auth=f"auth: {{silly: {{realm: 'http://{tokens.host}/token', service: the-service}}}}")
        # skopeo would want a token of its own form
        image = an_image()
        layout = self.path("plain")
        image.save(layout, tag="v1")
        shutil.copytree(layout, layout + "2")
        registry.push(layout, "v1", "a:v1")
        asked.clear()
        self.create(registry.ref("a:v1"))
        self.mvm_ok("template", "build", "t")
        self.assertEqual([who for _, who in asked], [None, None]) # once for the lock, once for the pull
        self.assertIn("service=the-service", asked[0][0])
        self.assertIn("scope=repository%3Aa%3Apull", asked[0][0])
        self.login({"auth": base64.b64encode(b"me:pw").decode()}, registry.host)
        self.mvm_ok("template", "build", "t")
        self.assertEqual(asked[2][1], "Basic " + base64.b64encode(b"me:pw").decode())


class Places(RegistryCase):
    @harness.needs_program("openssl")
    def test_tls_with_a_private_ca(self):
        key, ca, cert = self.path("key.pem"), self.path("ca.pem"), self.path("cert.pem")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", self.path("ca.key"), "-out", ca, "-subj", "/CN=our CA", "-days", "2")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", self.path("csr"), "-subj", "/CN=localhost")
        with open(self.path("ext"), "w", encoding="ascii") as out:
            out.write("subjectAltName=DNS:localhost\n")
        run("openssl", "x509", "-req", "-in", self.path("csr"), "-CA", ca, "-CAkey", self.path("ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", self.path("ext"), "-out", cert)
        registry = self.serve(host="localhost", tls=f"  tls: {{certificate: {cert}, key: {key}}}")
        self.push(registry, an_image(), "a:v1")
        self.create(registry.ref("a:v1"))
        self.settings(f'[registry."{registry.host}"]\ninsecure = false\n')
        self.mvm_fails(1, "template", "build", "t",
                       says='is signed by no authority known here\nhint: give its CA in registries.toml')
        os.chmod(ca, 0o600) # mvm reads it, not the process that meets the network
        self.settings(f'[registry."{registry.host}"]\nca = "{ca}"\n')
        self.mvm_ok("template", "build", "t")

    def test_mirrors_come_first_and_may_be_down(self):
        registry = self.serve()
        self.push(registry, an_image(), "a/b:v1")
        down = f"127.0.0.1:{registries.free_port()}"
        self.create("docker://registry.invalid/a/b:v1")
        self.settings(f'[registry."registry.invalid"]\nmirrors = ["{down}", "{registry.host}"]\n')
        done = self.mvm("template", "build", "t", status=0)
        self.assertIn(f"asking {registry.host}", done.stderr)
        self.settings('[registry."registry.invalid"]\nmirrors = ["https://x"]\n')
        self.mvm_fails(1, "template", "build", "t", says="registries.toml:2: ")

    def test_plain_http_must_be_allowed(self):
        with Stub() as stub:
            stub.add(an_image(), "v1")
            host = stub.host.replace("127.0.0.1", "localhost.localdomain")
            if subprocess.run(["getent", "hosts", "localhost.localdomain"], stdout=subprocess.DEVNULL,
                              check=False).returncode != 0:
                host = stub.host
                self.settings(f'[registry."{host}"]\ninsecure = false\n')
            self.create(f"docker://{host}/team/web:v1")
            self.mvm_fails(1, "template", "build", "t", says="insecure = true")
            self.assertEqual(stub.requests(), [])
            self.settings(f'[registry."{host}"]\ninsecure = true\n')
            self.mvm_ok("template", "build", "t")


if __name__ == "__main__":
    harness.main()
