# SPDX-License-Identifier: Apache-2.0
"""Templates leave a data folder as files and come back.  Nothing boots."""

import glob
import hashlib
import json
import os
import shutil
import struct
import subprocess
import tarfile

import harness
from oci_case import run
from revisions_case import KERNEL, Revisions

FAILED, USAGE, NOT_FOUND, BUSY, DAMAGED, UNSUPPORTED = 1, 2, 3, 4, 5, 6


class Artifacts(Revisions):
    def setUp(self):
        super().setUp()
        with open(self.path("root/random"), "wb") as file: # no zstd makes this small
            file.write(hashlib.shake_128(b"mvm").digest(1 << 20))
        self.revision = self.build()
        self.file = self.path("web.tar")

    def export(self, *options):
        return self.mvm_json("template", "export", "web", self.file, *options)

    def other_host(self):
        """Use another data folder, which is empty."""
        self.data_dir = self.path("other")

    def current(self, template, name):
        return os.path.join(self.data_dir, "templates", template, "current", name)

    def unpacked(self):
        folder = self.path("layout")
        with tarfile.open(self.file) as tar:
            tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)
        return folder

    def manifest(self, folder):
        with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
            digest = json.load(file)["manifests"][0]["digest"]
        with open(self.blob(folder, digest), encoding="utf-8") as file:
            return json.load(file)

    @staticmethod
    def blob(folder, digest):
        return os.path.join(folder, "blobs", "sha256", digest.removeprefix("sha256:"))

    def layer(self, folder, name):
        return next(layer for layer in self.manifest(folder)["layers"]
                    if layer.get("annotations", {}).get("dev.mvm.file") == name)


class Files(Artifacts):
    def test_a_revision_is_the_same_elsewhere(self):
        made = self.export()
        self.assertEqual((made["template_id"], made["revision_hash"], made["has_snapshot"]),
                         ("web", self.revision, False))
        ours = {name: open(self.current("web", name), "rb").read()
                for name in ("vmlinux", "initrd", "rootfs.ext4", "fc-base.json")}
        settings = self.mvm_json("template", "info", "web")["spec"]["run"]
        self.other_host()
        got = self.mvm_json("template", "import", self.file)
        self.assertEqual((got["template_id"], got["revision_hash"], got["digest"], got["new_revision"]),
                         ("web", self.revision, made["digest"], True))
        for name, text in ours.items():
            with open(self.current("web", name), "rb") as file:
                self.assertEqual(file.read(), text, name)
        spec = self.mvm_json("template", "info", "web")["spec"]
        self.assertEqual((spec["run"], spec["flake_ref"]), (settings, "artifact:" + made["digest"]))
        self.mvm_ok("template", "verify")
        # again, under another name: all files are here
        got = self.mvm_json("template", "import", self.file, "two")
        self.assertEqual((got["template_id"], got["reused_bytes"]), ("two", got["file_bytes"]))
        self.assertFalse(self.mvm_json("template", "import", self.file, "two")["new_revision"])
        # and back: the bytes do not tell which host wrote them
        again = self.path("again.tar")
        self.mvm_ok("template", "export", "two", again, "--tag", "web")
        with open(self.file, "rb") as a, open(again, "rb") as b:
            self.assertEqual(a.read(), b.read())
        # its source is its own image
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.assertEqual(self.build("two"), self.revision)

    def test_an_existing_template_keeps_its_settings(self):
        self.export()
        self.source("two")
        newer = self.build()
        self.mvm_ok("template", "import", self.file)
        info = self.mvm_json("template", "info", "web")
        self.assertEqual(info["revision"]["revision_hash"], self.revision)
        self.assertEqual(info["spec"]["flake_ref"], "dir:" + self.path("root"))
        self.assertEqual(len(self.mvm_json("template", "history", "web")), 2)
        self.assertEqual(self.build(), newer)

    def test_a_file_is_not_replaced_unasked(self):
        self.write("web.tar", "precious")
        self.mvm_fails(BUSY, "template", "export", "web", self.file, says="replace it with --force")
        with open(self.file, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")
        self.mvm_ok("template", "export", "web", self.file, "--force")
        self.mvm_fails(NOT_FOUND, "template", "export", "web", self.path("no/x.tar"), says="cannot write")
        self.mvm_fails(NOT_FOUND, "template", "export", "gone", self.path("x.tar"), says="no template")
        self.assertEqual(glob.glob(self.path(".mvm-export*")), [])

    def test_a_damaged_revision_is_not_exported(self):
        path = self.current("web", "rootfs.ext4")
        os.chmod(path, 0o644)
        with open(path, "r+b") as file:
            file.seek(5000)
            file.write(b"x")
        self.mvm_fails(DAMAGED, "template", "export", "web", self.file,
                       says="'rootfs.ext4' is damaged: it does not have its checksum")
        self.assertFalse(os.path.exists(self.file))

    @harness.needs_program("zstd")
    def test_a_blob_is_the_file_compressed(self):
        self.export()
        folder = self.unpacked()
        layer = self.layer(folder, "rootfs.ext4")
        self.assertEqual(layer["annotations"]["org.opencontainers.image.title"], "rootfs.ext4.zst")
        done = subprocess.run(["zstd", "-dc", self.blob(folder, layer["digest"])], capture_output=True, check=True)
        with open(self.current("web", "rootfs.ext4"), "rb") as file:
            self.assertEqual(done.stdout, file.read())

    @harness.needs_program("skopeo")
    def test_skopeo_copies_it(self):
        self.export()
        copied, folder = self.path("copied.tar"), self.path("folder")
        run("skopeo", "copy", "-q", f"oci-archive:{self.file}:web", f"oci-archive:{copied}:web")
        run("skopeo", "copy", "-q", f"oci-archive:{copied}:web", f"oci:{folder}:web")
        self.other_host()
        for path, name in (copied, "a"), (folder, "b"):
            self.assertEqual(self.mvm_json("template", "import", path, name)["revision_hash"], self.revision)
        self.mvm_ok("template", "verify")


class Crafted(Artifacts):
    """A stranger's layout, whose documents tests change."""

    def setUp(self):
        super().setUp()
        self.export()
        self.layout = self.unpacked()
        self.other_host()

    def put_blob(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with open(self.blob(self.layout, digest), "wb") as file:
            file.write(data)
        return {"digest": digest, "size": len(data)}

    def add_snapshot(self, files, **info):
        """Give the artifact a snapshot.  files: the content, or the blob, size, digest and chunks of a packed one."""
        manifest = self.manifest(self.layout)
        with open(self.blob(self.layout, manifest["layers"][0]["digest"]), "rb") as file:
            index = bytearray(file.read())
        n_files, n_chunks = struct.unpack_from("<II", index, 16)
        heads = chunks = b""
        for name, content in files.items():
            raw = isinstance(content, bytes)
            blob, size, digest, records = (
                (content, len(content), hashlib.sha256(content).digest(), self.chunk(content, len(content)))
                if raw else content)
            layer = self.put_blob(blob)
            manifest["layers"].append({"mediaType": "application/vnd.mvm.file.v1" + ("" if raw else "+zstd"), **layer})
            heads += struct.pack("<H", len(name)) + name.encode() + struct.pack("<Q", size) + digest
            heads += struct.pack("<HIH", raw, len(records) // 44, 1)
            heads += bytes.fromhex(layer["digest"].removeprefix("sha256:")) + struct.pack("<Q", len(blob))
            chunks += records
        struct.pack_into("<II", index, 16, n_files + len(files), n_chunks + len(chunks) // 44)
        at = len(index) - 44 * n_chunks
        manifest["layers"][0].update(self.put_blob(bytes(index[:at]) + heads + bytes(index[at:]) + chunks))
        with open(self.blob(self.layout, manifest["config"]["digest"]), encoding="utf-8") as file:
            config = json.load(file)
        config["snapshot"] = {"created_at": "2026-01-01T00:00:00Z", "vmstate_size_bytes": 4, "mem_size_bytes": 4096,
                              "boot_args": "x", "vcpus": 1, "mem_mib": 64, "compat": {"host": "x"}, **info}
        manifest["config"].update(self.put_blob(json.dumps(config).encode()))
        with open(os.path.join(self.layout, "index.json"), "w", encoding="utf-8") as file:
            json.dump({"schemaVersion": 2, "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                **self.put_blob(json.dumps(manifest).encode()),
                "annotations": {"org.opencontainers.image.ref.name": "web"}}]}, file)

    @staticmethod
    def chunk(content, packed):
        return hashlib.sha256(content).digest() + struct.pack("<IIHH", -(-len(content) // 4096), packed, 0, 0)


class Snapshots(Crafted):
    """Snapshots of strangers.  test_artifact_guest.py has real ones."""

    @staticmethod
    def umask():
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def test_only_what_runs_here_is_signed(self):
        """The own signature would make it run, here and everywhere else."""
        self.add_snapshot({"snapshot/vmstate.bin": b"evil", "snapshot/mem.bin": 4096 * b"m"})
        self.assertTrue(self.mvm_json("template", "import", self.layout)["new_snapshot"])
        self.mvm_ok("key", "trust", self.mvm_json("key", "generate", "mine")["path"])
        for command in ("export", "web", self.path("s.tar")), ("push", "web", "127.0.0.1:9/web:v1"):
            done = self.mvm("template", *command, "--sign", "mine", status=1)
            self.assertIn("was made elsewhere, and no key that you trust has signed it", done.stderr)
        self.assertFalse(os.path.exists(self.path("s.tar")))
        self.mvm_ok("template", "export", "web", self.path("s.tar"), "--sign", "mine", "--image-only")

    def test_where_it_is_from_cannot_be_hidden(self):
        self.add_snapshot({"snapshot/vmstate.bin": b"evil", "snapshot/mem.bin": 4096 * b"m"},
                          origin=None, signed_by=None, Origin="", foreign=False)
        digest = self.mvm_json("template", "import", self.layout)["digest"]
        with open(self.current("web", "revision.json"), encoding="utf-8") as file:
            snapshot = json.load(file)["snapshot"]
        self.assertEqual((snapshot["origin"], snapshot.get("signed_by")), (digest, None))
        self.assertEqual(snapshot["compat"]["host"], digest) # a version of mvm that knows no origin refuses it

    def test_an_artifact_does_not_name_its_host(self):
        self.add_snapshot({"snapshot/vmstate.bin": b"evil", "snapshot/mem.bin": 4096 * b"m"},
                          compat={"host": "x", "arch": "y"})
        self.mvm_ok("template", "import", self.layout)
        os.chmod(self.file, 0o666)
        self.mvm_ok("template", "export", "web", self.file, "--force")
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o600) # it has a guest's memory
        self.mvm_ok("template", "export", "web", self.path("i.tar"), "--image-only")
        self.assertEqual(os.stat(self.path("i.tar")).st_mode & 0o777, 0o666 & ~self.umask())
        shutil.rmtree(self.layout)
        with open(self.blob(self.unpacked(), self.manifest(self.layout)["config"]["digest"]), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["snapshot"]["compat"], {"arch": "y"})


    def test_the_vmms_of_its_backend_can_read_its_memory(self):
        """In a jail Firecracker is a user of its own, and opens the file by name."""
        plain = self.layout
        for backend, mode in ("firecracker", 0o644), ("qemu", 0o600), ("unheard-of", 0o600):
            self.layout = shutil.copytree(plain, self.path(backend))
            self.add_snapshot({"snapshot/vmstate.bin": b"evil", "snapshot/mem.bin": 4096 * b"m"},
                              compat={"host": "x", "backend": backend})
            self.mvm_ok("template", "import", self.layout, backend)
            self.assertEqual(os.stat(self.current(backend, "snapshot/mem.bin")).st_mode & 0o777, mode)


class Hostile(Crafted):
    """What strangers' files say is not believed."""

    def refused(self, status, says, *more):
        self.mvm_fails(status, "template", "import", self.layout, *more, says=says)
        templates = os.path.join(self.data_dir, "templates")
        self.assertEqual(os.listdir(templates) if os.path.isdir(templates) else [], [])
        tmp = os.path.join(self.data_dir, "tmp")
        self.assertEqual(os.listdir(tmp) if os.path.isdir(tmp) else [], [])

    def replace(self, change):
        """Change the manifest and its documents, so that all digests are right."""
        manifest = self.manifest(self.layout)

        def put(text):
            data = text if isinstance(text, bytes) else json.dumps(text).encode()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            with open(self.blob(self.layout, digest), "wb") as file:
                file.write(data)
            return {"digest": digest, "size": len(data)}

        with open(self.blob(self.layout, manifest["config"]["digest"]), encoding="utf-8") as file:
            config = json.load(file)
        change(manifest, config)
        manifest["config"].update(put(config))
        index = {"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", **put(manifest),
            "annotations": {"org.opencontainers.image.ref.name": "web"}}]}
        with open(os.path.join(self.layout, "index.json"), "w", encoding="utf-8") as file:
            json.dump(index, file)

    def test_every_part_has_its_digest(self):
        blobs = sorted(glob.glob(self.layout + "/blobs/sha256/*"))
        self.assertEqual(len(blobs), 6)
        for path in blobs:
            with open(path, "rb") as file:
                good = file.read()
            for bad in good[:-1], good[:len(good) // 2] + b"\0" + good[len(good) // 2 + 1:], b"":
                with open(path, "wb") as file:
                    file.write(bad)
                if bad != good:
                    shutil.rmtree(self.data_dir, ignore_errors=True) # it has blobs that would be used
                    self.refused(DAMAGED, "")
            os.unlink(path)
            shutil.rmtree(self.data_dir)
            self.refused(NOT_FOUND, "cannot open")
            with open(path, "wb") as file:
                file.write(good)
        self.mvm_ok("template", "import", self.layout)

    def test_a_revision_has_the_name_of_its_contents(self):
        def other_command(_, config):
            config["run"]["command"] = ["/bin/evil"]
        self.replace(other_command)
        self.refused(DAMAGED, f"it calls itself revision {self.revision[:12]}, and is ")

    def test_wrong_configurations_are_refused(self):
        def path(_, config):
            config["artifact_paths"]["rootfs"] = "../../../etc/passwd"

        def arch(_, config):
            config["architecture"] = "s390x"

        def trusted(_, config):
            config["snapshot"] = {"created_at": "2026-01-01T00:00:00Z", "vmstate_size_bytes": 1,
                                  "mem_size_bytes": 1, "boot_args": "", "vcpus": 1, "mem_mib": 1,
                                  "signed_by": "me"}

        def snapshot(_, config):
            trusted(_, config)
            del config["snapshot"]["signed_by"]

        def image(manifest, _):
            manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"

        def fewer(manifest, _):
            del manifest["layers"][-1]

        def size(_, config):
            config["mem_mib"] = 4
        for change, status, says in (
                (path, DAMAGED, "names files that no revision"),
                (arch, UNSUPPORTED, "its guests are for s390x"),
                (trusted, DAMAGED, "says where its snapshot is from"),
                (snapshot, DAMAGED, "it has no 'snapshot/vmstate.bin'"),
                (image, UNSUPPORTED, "this is no template of mvm's"),
                (fewer, DAMAGED, "names other blobs than the manifest"),
                (size, DAMAGED, "its configuration")):
            with self.subTest(change.__name__):
                shutil.rmtree(self.layout)
                self.unpacked()
                self.replace(change)
                self.refused(status, says)

    def test_the_name_must_be_one(self):
        with open(os.path.join(self.layout, "index.json"), encoding="utf-8") as file:
            index = file.read()
        for tag, says in ("../x", "does not say what to call the template"), ("V1.2", "give the template's name"):
            with open(os.path.join(self.layout, "index.json"), "w", encoding="utf-8") as file:
                file.write(index.replace('"web"', f'"{tag}"'))
            self.refused(FAILED, says)
        self.refused(USAGE, "no valid template name", "../x")
        self.mvm_fails(NOT_FOUND, "template", "import", self.layout, "t", "--tag", "gone",
                       says="has no artifact with the tag gone")

    def test_what_its_settings_open_is_told(self):
        """The imported revision becomes current, in a template whose own rules are closed, too."""
        self.data_dir = self.path("data")
        config = ('template_id = "t"\nflake_ref = "dir:root"\ncommand = ["/bin/x"]\n[[variants]]\nname = "{}"\n'
                  'role = "worker"\nvcpus = 1\nmem_mib = 512\n[network]\n{}\n')
        for name, rules in (("open", 'allow = ["host:22", "a.example", "10.0.0.0/8", "internet"]'),
                            ("names", 'allow = ["a.example", "internet"]\ndeny = ["all"]')):
            self.mvm_ok("template", "apply", self.write("t.toml", config.format(name, rules)))
            self.build(name)
            self.mvm_ok("template", "export", name, self.path(name + ".tar"))
        told = "its settings let VMs reach host:22, 10.0.0.0/8"
        done = self.mvm("template", "import", self.path("open.tar"), "web", status=0)
        self.assertIn("web: " + told, done.stderr)
        self.other_host()
        self.assertIn(told, self.mvm("template", "import", self.path("open.tar"), status=0).stderr)
        self.assertNotIn("reach", self.mvm("template", "import", self.path("names.tar"), status=0).stderr)

    def test_a_bomb_is_refused(self):
        """A MiB of ones is a frame of 41 bytes."""
        frame = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 1 << 20) + b"".join(
            struct.pack("<I", 131072 << 3 | 2 | (i == 7))[:3] + b"\1" for i in range(8))
        whole = b"\1" * (1 << 20)

        def file(n):
            entries = struct.pack("<II", len(frame), 1 << 20) * n
            table = struct.pack("<II", 0x184d2a5e, len(entries) + 9) + entries + struct.pack("<IBI", n, 0, 0x8f92eab1)
            return frame * n + table, n << 20, hashlib.sha256(whole * min(n, 2)).digest(), self.chunk(whole, len(frame)) * n

        small = {"snapshot/vmstate.bin": b"evil", "snapshot/mem.bin": 4096 * b"m"}
        self.add_snapshot({**small, "snapshot/working-set.bin": file(1100)})
        self.refused(FAILED, "would unpack to 1.0 GiB")
        shutil.rmtree(self.layout)
        self.unpacked()
        self.add_snapshot({**small, "snapshot/working-set.bin": file(2)})
        self.mvm_ok("template", "import", self.layout)
        with open(self.current("web", "snapshot/working-set.bin"), "rb") as got:
            self.assertEqual(got.read(), 2 * whole)

    def test_terabytes_of_holes_are_refused(self):
        """Their digest would take hours, and 32 MiB of blobs have them."""
        def holes(n):
            packed = 10 + 4 * 8192 # of a GiB
            return (bytes(n * packed + 17 + 8 * n), n << 30, bytes(32),
                    (bytes(32) + struct.pack("<IIHH", 1 << 18, packed, 0, 0)) * n)
        self.add_snapshot({"snapshot/vmstate.bin": b"evil", "snapshot/mem.bin": 4096 * b"m",
                           "snapshot/working-set.bin": holes(1025)})
        self.refused(FAILED, "its files have 1.0 TiB of holes, and no key that you trust has signed it")

    def test_what_is_no_layout_is_refused(self):
        self.mvm_fails(DAMAGED, "template", "import", self.write("x.tar", "x" * 600), says="is no tar archive")
        self.mvm_fails(FAILED, "template", "import", self.folder, says="is no OCI layout")
        self.mvm_fails(NOT_FOUND, "template", "import", self.path("gone"), says="cannot open")


if __name__ == "__main__":
    harness.main()
