# SPDX-License-Identifier: Apache-2.0
"""Guest kernels: their features, and the notes of builds about them."""

import hashlib
import json
import os
import subprocess
import sys

import go_tools
import harness
import oci_images as oci
import registries
import test_mvmd

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from tiny_kernel import tiny_kernel # pylint: disable=wrong-import-position

NOT_FOUND, EXISTS, DAMAGED, UNSUPPORTED = 3, 4, 5, 6
ALL = {"virtio_mmio": "builtin", "virtio_pci": "builtin", "virtio_blk": "builtin",
       "virtio_net": "builtin", "virtio_console": "builtin", "vsock": "builtin",
       "ext4": "builtin", "overlay": "builtin"}
OPTIONS = {"VIRTIO_MMIO": "y", "VIRTIO_PCI": "y", "VIRTIO_BLK": "y", "VIRTIO_NET": "y",
           "VIRTIO_CONSOLE": "y", "VIRTIO_VSOCKETS": "y", "EXT4_FS": "y", "OVERLAY_FS": "y"}


def config(**changes):
    """A kernel's configuration.  An option that is None is not set."""
    lines = ["#", "# Linux/x86 6.1.0 Kernel Configuration", "#", "CONFIG_EXT4_FS_SECURITY=y"]
    for name, value in {**OPTIONS, **changes}.items():
        lines.append(f"CONFIG_{name}={value}" if value else f"# CONFIG_{name} is not set")
    return "\n".join(lines) + "\n"


class TestCase(harness.TestCase):
    def add(self, text=None, *args, name="tiny", pvh=True):
        with open(self.path("vmlinux"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test", text, pvh))
        return self.mvm_ok("kernel", "add", self.path("vmlinux"), "--name", name, *args)

    def features(self):
        kernel, = self.mvm_json("kernel", "list")
        return kernel["features"]


class Fetch(TestCase):
    """Fetches with scripts in place of apt's programs.  The real programs fetch the kernel that guests boot."""

    PACKAGE = "linux-image-6.1.0-test-cloud-amd64"

    def apt(self, cache, get):
        """A PATH with these scripts as the only programs of apt."""
        for name, lines in ("apt-cache", cache), ("apt-get", get):
            self.write("bin/" + name, "#!/bin/sh\n" + lines + "\n", 0o755)
        return {"PATH": self.path("bin") + ":/usr/bin:/bin"}

    def debian(self):
        self.write("deb/DEBIAN/control", f"Package: {self.PACKAGE}\nVersion: 1\n"
                   "Architecture: all\nMaintainer: n <n@example>\nDescription: k\n")
        os.makedirs(self.path("deb/boot"))
        with open(self.path("deb/boot/vmlinuz-6.1.0-test-cloud-amd64"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test-cloud-amd64", config()))
        subprocess.run(["dpkg-deb", "-b", self.path("deb"), self.path("k.deb")], check=True,
                       stdout=subprocess.DEVNULL, timeout=300)
        # the host's own package lists are empty, those that apt-get fetches are not
        return self.apt(f"""case $* in *lists=./lists*)
            test -e lists/debian && printf 'x\\n  Depends: {self.PACKAGE}\\n'; exit 0; esac
            echo 'E: No packages found' >&2; exit 100""",
                        f"""case $* in
            *update) touch lists/debian ;;
            *--print-uris*) echo "'http://mirror.example/pool/k.deb' k.deb 3145728 SHA256:x" ;;
            *download*) echo >>{self.path('downloads')}; cp {self.path('k.deb')} {self.PACKAGE}_1_all.deb ;;
            esac""")

    def downloads(self):
        with open(self.path("downloads"), encoding="ascii") as file:
            return len(file.readlines())

    @harness.needs_program("dpkg-deb")
    def test_the_newest_kernel_is_downloaded_once(self):
        env = self.debian()
        for words in ("", ", was there already"):
            self.assertEqual(self.mvm_ok("kernel", "fetch", "--name", "k", env=env),
                             f"k  6.1.0-test-cloud-amd64, 0 modules{words}\n")
        self.assertEqual(self.downloads(), 1)
        done = self.mvm("kernel", "fetch", "--name", "k", "--force", env=env, status=0)
        self.assertIn("kernel: download 3 MiB: http://mirror.example/pool/k.deb", done.stderr)
        self.assertEqual(self.downloads(), 2)
        self.assertEqual(os.listdir(self.path("data", "tmp")), [])

    @harness.needs_program("dpkg-deb")
    def test_a_download_alone_adds_nothing(self):
        env = self.debian()
        folder = self.path("packages")
        for _ in range(2):
            self.assertEqual(self.mvm_ok("kernel", "fetch", "--download", folder, env=env),
                             f"{folder}/{self.PACKAGE}_1_all.deb\n")
        self.assertEqual(self.downloads(), 1)
        self.assertEqual(os.listdir(folder), [self.PACKAGE + "_1_all.deb"])
        self.assertFalse(os.path.exists(self.data_dir))

    @harness.needs_program("dpkg-deb")
    def test_run_and_build_offer_to_fetch_one(self):
        stub = self.enterContext(registries.Stub())
        stub.add(oci.Image(Cmd=["/bin/sh"]).layer(oci.tar_of(oci.file("bin/sh", b"x", mode=0o755))), "v1")
        env = {**self.debian(), "MVM_QEMU": "/nonexistent", "MVM_FIRECRACKER": "/nonexistent"}
        # no terminal and no --yes: nothing is downloaded, neither kernel nor image
        self.mvm_fails(NOT_FOUND, "run", stub.ref("v1"), env=env, says="hint: mvm kernel fetch")
        self.assertEqual(self.mvm_json("kernel", "list"), [])
        self.assertEqual((stub.requests("/blobs/"), self.mvm_json("template", "list")), ([], []))
        done = self.mvm("run", "--yes", stub.ref("v1"), env=env) # there is no VMM to run it
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("from the mirrors in apt's sources", done.stderr)
        self.assertIn("http://mirror.example/pool/k.deb", done.stderr)
        self.assertIn("guests boot Debian's kernel 6.1.0-test-cloud-amd64 now", done.stderr)
        self.assertEqual(len(self.mvm_json("kernel", "list")), 1)
        self.assertTrue(self.mvm_json("template", "list")[0]["revision_hash"])
        self.assertEqual(self.downloads(), 1)
        # on a terminal the question says what comes from where
        for answer, wanted in (b"n\n", NOT_FOUND), (b"y\n", 0):
            self.mvm("kernel", "rm", "6.1.0-test-cloud-amd64")
            status, shown = self.answer_on_terminal([(b"[y/N]", answer)], "template", "build", "web-v1", "--force",
                                                    env=env)
            self.assertEqual(status, wanted, shown)
            self.assertIn(b"with this host's apt, from the mirrors in apt's sources", shown)
        self.assertEqual(self.downloads(), 2)

    def test_a_host_without_apt_gets_a_hint(self):
        err = self.mvm_fails(UNSUPPORTED, "kernel", "fetch", env={"PATH": self.path("none")},
                             says="there is no apt-cache")
        self.assertIn("hint: download Debian's package", err)
        shown = self.mvm_ok("help", "kernel", "fetch") # where the hint leads
        self.assertIn("podman run", shown)
        self.assertIn("mvm kernel add linux-image-*.deb", shown)

    def test_an_apt_that_knows_no_such_kernel_is_no_debian(self):
        env = self.apt("echo 'E: No packages found' >&2; exit 100", "exit 0")
        self.mvm_fails(UNSUPPORTED, "kernel", "fetch", env=env, says="knows no linux-image-cloud-")

    def test_the_words_of_apt_are_passed_on(self):
        env = self.apt("exit 100", "echo 'W: x'; echo 'E: Temporary failure resolving'; exit 100")
        self.mvm_fails(1, "kernel", "fetch", env=env,
                       says="apt-get update failed: Temporary failure resolving")
        self.assertEqual(os.listdir(self.path("data", "tmp")), [])


class Features(TestCase):
    def test_the_kernel_s_own_configuration_tells(self):
        self.add(config())
        self.assertEqual(self.features(), ALL)
        table = self.mvm_ok("kernel", "list")
        self.assertRegex(table, r"pvh virtio_mmio .* overlay\n$")
        with open(self.path("vmlinux"), "rb") as file:
            self.assertIn(hashlib.sha256(file.read()).hexdigest()[:12], table)
        self.add(config(OVERLAY_FS=None, VIRTIO_VSOCKETS=None, VIRTIO_PCI="m"), "--force")
        self.assertEqual(self.features(), {**ALL, "overlay": "no", "vsock": "no",
                                           "virtio_pci": "no"}) # a module, but there is no package
        table = self.mvm_ok("kernel", "list")
        self.assertNotIn("overlay", table)
        self.assertNotIn("unknown", table)

    def test_without_a_configuration_they_are_unknown(self):
        for text in (None, "", "no configuration\n"):
            self.add(text, "--force")
            self.assertEqual(self.features(), dict.fromkeys(ALL, "unknown"))
        self.assertRegex(self.mvm_ok("kernel", "list"), r"pvh, others unknown\n$")
        self.add(None, "--force", pvh=False)
        self.assertRegex(self.mvm_ok("kernel", "list"), r"Z  others unknown\n$")
        done = self.mvm("kernel", "add", self.path("vmlinux"), "--name", "tiny", status=0)
        self.assertIn("it came without modules", done.stderr)

    def test_a_damaged_configuration_is_none(self):
        whole = tiny_kernel("6.1.0-test", config())
        start = whole.index(b"IKCFG_ST")
        for damaged in (whole[:start + 40], whole[:start + 40] + b"IKCFG_ED",
                        whole[:start] + b"IKCFG_STIKCFG_ED"):
            with open(self.path("vmlinux"), "wb") as file:
                file.write(damaged)
            self.mvm_ok("kernel", "add", self.path("vmlinux"), "--name", "tiny", "--force")
            self.assertEqual(self.features(), dict.fromkeys(ALL, "unknown"))

    @harness.needs_program("dpkg-deb")
    def test_a_package_tells_by_its_configuration_and_modules(self):
        modules = "deb/lib/modules/6.1.0-test/"
        corpus = os.path.join(harness.SOURCE_DIR, "tests", "fuzz", "corpus", "module")
        with open(os.path.join(corpus, "overlay.ko"), "rb") as file:
            overlay = file.read()
        self.write("deb/DEBIAN/control", "Package: k\nVersion: 1\nArchitecture: all\n"
                   "Maintainer: n <n@example>\nDescription: k\n")
        self.write("deb/boot/config-6.1.0-test", config(OVERLAY_FS="m", VIRTIO_NET="m",
                                                        VIRTIO_PCI=None))
        with open(self.path("deb/boot/vmlinuz-6.1.0-test"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.write(modules + "modules.builtin", "kernel/drivers/virtio/virtio-mmio.ko\n")
        with open(self.path(modules, "overlay.ko"), "wb") as file:
            file.write(overlay)

        def add():
            subprocess.run(["dpkg-deb", "-b", self.path("deb"), self.path("k.deb")], check=True,
                           stdout=subprocess.DEVNULL, timeout=300)
            self.mvm_ok("kernel", "add", self.path("k.deb"), "--name", "tiny", "--force")

        add()
        self.assertEqual(self.features(), {**ALL, "overlay": "module", "virtio_net": "no",
                                           "virtio_pci": "no"})
        os.unlink(self.path("deb/boot/config-6.1.0-test"))
        add()
        self.assertEqual(self.features(), {**dict.fromkeys(ALL, "no"), "overlay": "module",
                                           "virtio_mmio": "builtin"})
        os.unlink(self.path(modules, "modules.builtin"))
        add()
        self.assertEqual(self.features(), {**dict.fromkeys(ALL, "unknown"), "overlay": "module"})

    def test_a_package_may_not_ask_for_any_amount_of_memory(self):
        tar = oci.tar_of(oci.file("etc/motd", b"m"))
        for name, packed, says in (
                ("data.tar.xz", oci.xz(tar, 30), "the package installs no /boot/vmlinuz"),
                ("data.tar.xz", oci.xz(tar, 40), "k.deb' needs a dictionary of more than 128 MiB"),
                ("data.tar.lzma", oci.lzma_alone(tar, 1 << 31), "k.deb' needs a dictionary")):
            members = b"".join(f"{member:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
                               + data + b"\n" * (len(data) % 2)
                               for member, data in (("debian-binary", b"2.0\n"), (name, packed)))
            oci.write(self.path("k.deb"), b"!<arch>\n" + members)
            self.mvm_fails(1, "kernel", "add", self.path("k.deb"), "--name", "k", says=says)

    def test_a_record_of_an_older_mvm_is_as_good(self):
        self.add(config())
        path = os.path.join(self.data_dir, "kernels", "tiny", "kernel.json")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        self.assertEqual(record["features"], ALL)
        for features in (None, {"ext4": "builtin", "teleport": "builtin", "vsock": "perhaps"}):
            record.pop("features", None)
            if features:
                record["features"] = features
            os.unlink(path)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(record, file)
            self.assertEqual(self.features(), {**dict.fromkeys(ALL, "unknown"),
                                               **({"ext4": "builtin"} if features else {})})
        self.add(config()) # adding it again finds more features
        self.assertEqual(self.features(), ALL)
        before = os.stat(path).st_ino
        self.add(config()) # a third time finds nothing new
        self.assertEqual(os.stat(path).st_ino, before)

    def test_a_record_of_a_newer_mvm_is_refused(self):
        self.add(config())
        os.unlink(os.path.join(self.data_dir, "kernels", "tiny", "kernel.json"))
        self.write("data/kernels/tiny/kernel.json", '{"schema_version": 2}')
        self.mvm_fails(6, "kernel", "rm", "tiny", says="kernel.json: written by a newer mvm")


class Artifacts:
    """self.stub has an artifact of a kernel."""

    def serve_artifacts(self):
        self.stub = self.enterContext(registries.Stub())
        self.kernel = tiny_kernel("6.1.0-test", config())
        self.ref = self.stub.ref("v1").removeprefix("docker://")

    def artifact(self, *files, tag="v1", **changes):
        """Serve an artifact of these files, as oras makes it; returns its manifest's digest."""
        layers = []
        for data in files:
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            self.stub.blobs[digest] = data
            layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(data),
                           "annotations": {"org.opencontainers.image.title": "../../../../etc/passwd"}})
        self.stub.blobs["sha256:" + hashlib.sha256(b"{}").hexdigest()] = b"{}"
        return self.serve({"schemaVersion": 2, "mediaType": registries.MANIFEST,
                           "artifactType": "application/vnd.unknown.artifact.v1",
                           "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                                      "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest()},
                           "layers": layers, **changes}, tag)

    def serve(self, manifest, tag="v1"):
        text = json.dumps(manifest).encode()
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        self.stub.manifests[tag] = self.stub.manifests[digest] = text, registries.MANIFEST
        return digest


class FromARegistry(Artifacts, TestCase):
    """Artifacts of one file, made by hand; and one that a judge made, in a real registry."""

    def setUp(self):
        super().setUp()
        self.serve_artifacts()

    def refused(self, says, status=1):
        """No kernel is added, and nothing is left in staging."""
        self.mvm_fails(status, "kernel", "fetch", self.ref, "--name", "k", says=says)
        self.assertEqual(self.mvm_json("kernel", "list"), [])
        self.assertEqual(os.listdir(self.path("data", "tmp")), [])

    @harness.needs_program("docker-registry")
    @go_tools.needs_go_tools("oras")
    def test_what_oras_pushes_is_a_kernel(self):
        registry = self.enterContext(registries.Registry(self.folder))
        self.write("vmlinuz", "")
        with open(self.path("vmlinuz"), "wb") as file:
            file.write(self.kernel)
        there = f"{registry.host}/kernels/debian:6.1"
        subprocess.run([go_tools.tool("oras"), "push", "--plain-http", there, "vmlinuz"], cwd=self.folder,
                       check=True, stdout=subprocess.DEVNULL, timeout=300)
        for ref, words in (there, ""), ("docker://" + there, ", was there already"):
            self.assertEqual(self.mvm_ok("kernel", "fetch", ref), f"6.1.0-test  6.1.0-test, 0 modules{words}\n")
        self.assertEqual(self.features(), ALL)

    def test_it_is_clear_what_comes_from_where(self):
        digest = self.artifact(self.kernel)
        done = self.mvm("kernel", "fetch", self.ref, "--name", "k", status=0)
        self.assertIn(f"kernel: {self.ref} is {digest}\n", done.stderr)
        self.assertRegex(done.stderr, r"pulling 127\.0\.0\.1:\d+/team/web: 1 of 1 layers, \d+ B")
        self.assertEqual(os.listdir(self.path("data", "tmp")), [])

    def test_the_file_comes_once(self):
        digest = self.artifact(self.kernel)
        for ref in self.ref, f"{self.ref}@{digest}", self.ref:
            self.mvm_ok("kernel", "fetch", ref, "--name", "k")
        self.assertEqual(len(self.stub.requests("/blobs/")), 1)
        self.artifact(tiny_kernel("6.1.0-other", config())) # the tag moves
        self.mvm_fails(EXISTS, "kernel", "fetch", self.ref, "--name", "k", says="another kernel has the name 'k'")
        self.mvm_ok("kernel", "fetch", self.ref, "--name", "k", "--force")
        self.assertEqual(self.mvm_json("kernel", "list")[0]["version"], "6.1.0-other")

    @harness.needs_program("dpkg-deb")
    def test_a_package_that_is_here_is_neither_fetched_nor_unpacked_again(self):
        self.write("deb/DEBIAN/control", "Package: k\nVersion: 1\nArchitecture: all\nMaintainer: n <n@example>\n"
                   "Description: k\n")
        os.mkdir(self.path("deb/boot"))
        oci.write(self.path("deb/boot/vmlinuz-6.1.0-test"), self.kernel)
        subprocess.run(["dpkg-deb", "-b", self.path("deb"), self.path("k.deb")], check=True,
                       stdout=subprocess.DEVNULL, timeout=300)
        with open(self.path("k.deb"), "rb") as file:
            self.artifact(file.read())
        for name in ["--name", "k"], []: # the second one is another name of the same kernel
            for words, fetched in ("", 1), (", was there already", 0):
                before = len(self.stub.requests("/blobs/"))
                self.assertEqual(self.mvm_ok("kernel", "fetch", self.ref, *name),
                                 f"{'k' if name else '6.1.0-test'}  6.1.0-test, 0 modules{words}\n")
                self.assertEqual(len(self.stub.requests("/blobs/")) - before, fetched)
                self.mvm_ok("template", "prune") # which removes the package
        self.mvm_ok("kernel", "fetch", self.ref, "--force")
        self.assertEqual(len(self.stub.requests("/blobs/")), 3)

    def test_other_artifacts_are_refused(self):
        self.artifact(self.kernel, b"readme")
        self.refused("has 2 files, not one")
        self.artifact()
        self.refused("has 0 files, not one")
        self.artifact(b"no kernel at all")
        self.refused(f"'{self.ref}' is no kernel")
        self.artifact(b"!<arch>\n" + b"x" * 100)
        self.refused(f"'{self.ref}' is damaged: member 1 has no header", DAMAGED)
        self.stub.add(oci.Image(Cmd=["/bin/sh"]).layer(oci.tar_of(oci.file("bin/sh", b"x"))), "v1")
        self.refused("is a container image")
        self.serve({"schemaVersion": 2, "manifests": []})
        self.refused("has no container image", NOT_FOUND)
        del self.stub.manifests["v1"]
        self.refused("has no tag", NOT_FOUND)

    def test_a_kernel_for_another_machine_is_refused(self):
        self.artifact(self.kernel[:18] + (183).to_bytes(2, "little") + self.kernel[20:]) # EM_AARCH64
        self.refused("is a kernel for aarch64, and guests here are x86_64")

    def test_a_lie_about_the_file_is_found(self):
        digest = "sha256:" + hashlib.sha256(self.kernel).hexdigest()
        def layer(**lie):
            return {"layers": [{"mediaType": "a/b", "digest": digest, "size": len(self.kernel), **lie}]}
        self.artifact(self.kernel, **layer(size=1 << 40))
        self.refused("takes more than 1 GiB")
        self.assertEqual(self.stub.requests("/blobs/"), [])
        self.artifact(self.kernel, **layer(digest="sha256:../../x"))
        self.refused("is no SHA-256 digest", DAMAGED)
        self.artifact(self.kernel, **layer(size=-1))
        self.refused("size", DAMAGED)
        self.artifact(self.kernel)
        self.stub.blobs[digest] = self.kernel[:-1] + b"!"
        self.refused("digest", DAMAGED)
        for more, says, status in (-1, "longer than announced", DAMAGED), (1, "the answer is empty", 1):
            self.artifact(self.kernel, **layer(size=len(self.kernel) + more))
            self.refused(says, status)
        self.artifact(self.kernel) # the truth still works
        self.mvm_ok("kernel", "fetch", self.ref)

    def test_an_endless_file_ends(self):
        self.artifact(self.kernel)
        sent = []

        def endless(request):
            if "/blobs/" not in request.path:
                return False
            request.send_response(200)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            for _ in range(1 << 14): # 1 GiB
                request.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent.append(65536)
            return True

        self.stub.answer = endless
        self.refused("longer than announced", DAMAGED)
        self.assertLess(sum(sent), 256 << 20)

    def test_a_reference_and_a_folder_exclude_each_other(self):
        self.mvm_fails(2, "kernel", "fetch", self.ref, "--download", "x", says="--download")


class ByTheService(Artifacts, test_mvmd.Case):
    def post(self, target, **body):
        status, _, reply = self.local("POST", target, {"Content-Type": "application/json"}, json.dumps(body))
        self.assertEqual(status, 200, reply)
        return reply["metadata"]

    def test_a_kernel_and_a_template_come_from_a_registry(self):
        self.serve_artifacts()
        self.artifact(self.kernel)
        self.assertEqual(self.post("/v1/kernels", **{"from": self.ref, "name": "k"})["version"], "6.1.0-test")
        self.write("root/etc/hostname", "x\n")
        self.post("/v1/templates", template_id="web", settings={"flake_ref": "dir:" + self.path("root"), "mem_mib": 128})
        self.post("/v1/templates/web/build")
        self.post("/v1/templates/web/push", to=self.ref)
        got = self.post("/v1/pull", **{"from": self.ref, "template_id": "other"})
        self.assertEqual((got["new_revision"], got["snapshot_unfit"]), (True, False))


class Needs(TestCase):
    def setUp(self):
        super().setUp()
        self.write("root/etc/hostname", "x\n")

    def build(self, *args, status=0, network="user"):
        path = self.write("t.toml", f'flake_ref = "dir:root"\nnetwork = "{network}"\n[[variants]]\n'
                          'name = "t"\nrole = "worker"\nvcpus = 1\nmem_mib = 128\n')
        return self.mvm("template", "build", "--config", path, *args, status=status).stderr

    def test_a_complete_kernel_causes_no_message(self):
        self.add(config())
        self.assertNotIn("the kernel has no", self.build())
        self.add(None, "--force") # a kernel with unknown features causes none, either
        self.assertNotIn("the kernel has no", self.build())

    def test_a_build_reports_features_that_a_backend_needs(self):
        self.add(config(VIRTIO_VSOCKETS=None))
        says = self.build()
        self.assertIn("t: the kernel has no vsock, so firecracker cannot run this template\n", says)
        self.assertNotIn("qemu", says)
        self.assertIn("the kernel has no vsock", self.build()) # also for a build from the cache
        self.assertNotIn("the kernel has no", self.build("--backend", "qemu"))
        self.add(config(OVERLAY_FS=None, VIRTIO_NET=None), "--force", pvh=False)
        says = self.build()
        self.assertIn("t: the kernel has no pvh, virtio_net, overlay, so qemu cannot", says)
        self.assertIn("t: the kernel has no virtio_net, overlay, so firecracker cannot", says)
        self.assertIn("the kernel has no overlay, so firecracker", self.build(network="none"))

    def test_a_snapshot_that_no_backend_could_make_is_an_error(self):
        self.add(config(EXT4_FS=None))
        says = self.build("--snapshot", status=UNSUPPORTED)
        self.assertIn("no snapshot can be made with this kernel, which lacks features: qemu "
                      "needs ext4; firecracker needs ext4", says)
        self.assertIn("hint: ", says)
        says = self.build("--snapshot", "--backend", "qemu", status=UNSUPPORTED)
        self.assertIn("which lacks features: qemu needs ext4\n", says)


if __name__ == "__main__":
    harness.main()
