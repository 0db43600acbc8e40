# SPDX-License-Identifier: Apache-2.0
"""OCI images as sources: the choice of an image, its settings, and images that are refused."""

import json
import os
import shutil
import tarfile

import harness
import oci_images as oci
from oci_case import BASE, KERNEL, OciCase, run
from oci_images import file, folder, symlink, tar_of


class Choosing(OciCase):
    def fails(self, status, flake_ref, says):
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k", "--force")
        self.mvm_ok("template", "create", "t", "--flake", flake_ref, "--force")
        self.mvm_fails(status, "template", "build", "t", says=says)
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])

    def without_platforms(self, n, note_bytes):
        """A layout of n manifests without platforms."""
        layout, blobs, manifests = self.path("image"), {}, []
        shutil.rmtree(layout, ignore_errors=True)
        image = oci.Image().layer(tar_of(file("f")))
        config = image.blob(json.dumps(image.config).encode(),
                            "application/vnd.oci.image.config.v1+json")
        for i in range(n):
            manifests.append(image.blob(json.dumps({
                "schemaVersion": 2, "config": config, "layers": image.layers,
                "annotations": {"note": str(i) + "x" * note_bytes}}).encode(),
                "application/vnd.oci.image.manifest.v1+json"))
        blobs.update(image.blobs)
        oci.save_layout(layout, manifests, blobs)
        return layout, manifests, blobs

    def test_reading_platforms_has_a_limit(self):
        layout, manifests, _ = self.without_platforms(40, 2 << 20)
        self.fails(1, "oci:" + layout, "image': the manifests and configurations of its images take "
                   "more than 64 MiB\nhint: name the image: append ':sha256:DIGEST'")
        self.build(f"oci:{layout}:{manifests[39]['digest']}")

    def test_a_manifest_in_many_entries_is_read_once(self):
        layout, manifests, blobs = self.without_platforms(1, 2 << 20)
        oci.save_layout(layout, manifests * 1000, blobs)
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.mvm_ok("template", "create", "t", "--flake", "oci:" + layout)
        self.mvm_ok("template", "build", "t", cpu_s=20)

    def test_a_working_folder_too_deep_is_named(self):
        layout = self.path("image")
        oci.Image(WorkingDir="/d" * 200).layer(BASE).save(layout)
        self.fails(1, "oci:" + layout, "image': WorkingDir: ")

    def two_platforms(self, layout, nested):
        mine = oci.Image().layer(tar_of(file("mine")))
        other = oci.Image(arch="riscv64").layer(tar_of(file("other")))
        blobs, manifests = {}, []
        for image in (other, mine):
            descriptor = image.manifest()
            descriptor["platform"] = {"os": "linux", "architecture": image.config["architecture"]}
            manifests.append(descriptor)
            blobs.update(image.blobs)
        lock = manifests[1]["digest"].removeprefix("sha256:")
        if nested:
            top = oci.Image()
            index = top.blob(json.dumps({"schemaVersion": 2, "manifests": manifests}).encode(),
                             "application/vnd.oci.image.index.v1+json")
            index["annotations"] = {"org.opencontainers.image.ref.name": "multi"}
            blobs.update(top.blobs)
            manifests = [index]
        oci.save_layout(layout, manifests, blobs)
        return lock

    def test_the_platform_is_this_machines_and_its_manifest_is_the_lock(self):
        for nested in (False, True):
            with self.subTest(nested=nested):
                lock = self.two_platforms(self.path("image"), nested)
                self.build("oci:" + self.path("image"))
                self.assertEqual(self.revision()["flake_lock_hash"], lock)
                self.assertEqual(self.revision()["build"]["builder"], "oci")

    def test_no_such_tag_platform_or_path(self):
        layout = self.path("image")
        images = {"one": oci.Image().layer(tar_of(file("a"))),
                  "two": oci.Image().layer(tar_of(file("b")))}
        manifests, blobs = [], {}
        for tag, image in images.items():
            manifests.append({**image.manifest(),
                              "annotations": {"org.opencontainers.image.ref.name": tag}})
            blobs.update(image.blobs)
        oci.save_layout(layout, manifests, blobs)
        one, two = (each["digest"].removeprefix("sha256:")[:12] for each in manifests)
        listed = f"it has one ({one}, linux/{oci.ARCH}), two ({two}, linux/{oci.ARCH})"
        self.fails(1, f"oci:{layout}", f"several images that fit; {listed}\nhint: append "
                   "to the path a colon and one of the names, or ':sha256:' and the first digits")
        self.fails(3, f"oci:{layout}:three", f"no image named 'three'; it has one ({one}), two")
        self.build(f"oci:{layout}:sha256:{two}")
        self.assertTrue(self.revision()["flake_lock_hash"].startswith(two))
        self.fails(3, f"oci:{layout}x:one", "cannot open the image")
        self.build(f"oci:{layout}:two")
        shutil.rmtree(layout)
        oci.Image(arch="riscv64").layer(BASE).save(layout)
        self.fails(1, f"oci:{layout}", "is an image for linux/riscv64, not linux/")
        self.fails(1, f"oci:{self.folder}", "is no OCI image: it has no oci-layout")
        self.write("text", "x" * 2000)
        self.fails(5, "oci-archive:" + self.path("text"), "is no tar archive")
        oci.write(self.path("z"), oci.PACK["+gzip"](b"x" * 2000))
        self.fails(6, "oci-archive:" + self.path("z"), "compressed as a whole")


    def layout_of(self, *entries):
        """Make a layout of (image, more fields of its descriptor).  Returns the digests."""
        layout = self.path("image")
        shutil.rmtree(layout, ignore_errors=True)
        manifests, blobs = [], {}
        for image, more in entries:
            manifests.append({**image.manifest(), **more})
            blobs.update(image.blobs)
        oci.save_layout(layout, manifests, blobs)
        return [each["digest"].removeprefix("sha256:") for each in manifests]

    def lock_of(self, name=""):
        self.build(f"oci:{self.path('image')}{name}")
        return self.revision()["flake_lock_hash"]

    def test_two_images_under_one_name_are_refused(self):
        one, two = (oci.Image().layer(tar_of(file(name))) for name in ("one", "two"))
        tag = {"annotations": {"org.opencontainers.image.ref.name": "v1"}}
        for more in (tag, {}):
            digests = self.layout_of((one, more), (two, more))
            self.fails(1, f"oci:{self.path('image')}{':v1' if more else ''}",
                       f"({digests[0][:12]}, linux/{oci.ARCH})")
            self.assertEqual(self.lock_of(":sha256:" + digests[1]), digests[1])
        other = oci.Image(arch="riscv64").layer(tar_of(file("other")))
        digests = self.layout_of((other, tag), (two, tag)) # their configurations tell them apart
        self.assertEqual(self.lock_of(":v1"), digests[1])
        digests = self.layout_of((two, tag), (two, {}), (two, tag)) # the same image
        self.assertEqual(self.lock_of(), digests[0])

    def test_the_name_that_containerd_gave_selects(self):
        names = ["docker.io/library/web:latest", "docker.io/library/db:latest", "quay.io/a/b:v2"]
        digests = self.layout_of(*(
            (oci.Image().layer(tar_of(file(name.replace("/", "-")))),
             {"annotations": {"io.containerd.image.name": name,
                              "org.opencontainers.image.ref.name": name.split(":")[1]}})
            for name in names))
        for name, lock in zip(names, digests):
            self.assertEqual(self.lock_of(":" + name), lock)
        self.assertEqual(self.lock_of(":db"), digests[1])
        self.assertEqual(self.lock_of(":library/db:latest"), digests[1])
        self.assertEqual(self.lock_of(":v2"), digests[2])
        self.fails(1, f"oci:{self.path('image')}", "several images that fit; it has "
                   + names[0])
        self.fails(1, f"oci:{self.path('image')}:latest", "several images")

    def test_only_the_chosen_entry_is_judged(self):
        image = oci.Image().layer(tar_of(file("a")))
        lock, = self.layout_of((image, {}))
        path = os.path.join(self.path("image"), "index.json")
        with open(path, encoding="utf-8") as text:
            good, = json.load(text)["manifests"]
        config = image.blob(b"{}", "application/vnd.oci.empty.v1+json")
        artifact = image.blob(json.dumps({"schemaVersion": 2, "config": config, "layers": []})
                              .encode(), good["mediaType"])
        oci.save_layout(self.path("image"), [], image.blobs)
        bad = {"sha512": {**good, "digest": "sha512:" + "0" * 128},
               "no platform": artifact, "artifact": {**artifact, "artifactType": "x/y"},
               "no media type": {"digest": good["digest"]}, "text": "text",
               "size": {**good, "size": -1}, "empty platform": {
                   **artifact, "platform": {"os": "", "architecture": ""}}}
        for name, entry in bad.items():
            for manifests in ([entry, good], [good, entry]):
                with self.subTest(name=name):
                    oci.write(path, json.dumps({"schemaVersion": 2,
                                                "manifests": manifests}).encode())
                    self.assertEqual(self.lock_of(), lock)
        for name, status in (("sha512", 6), ("no platform", 5), ("artifact", 3), ("size", 5)):
            oci.write(path, json.dumps({"schemaVersion": 2, "manifests": [bad[name]]}).encode())
            self.fails(status, f"oci:{self.path('image')}", "")

    def test_of_several_variants_the_highest_that_runs_is_taken(self):
        if oci.ARCH != "amd64":
            self.skipTest("variants of amd64")
        images = [oci.Image().layer(tar_of(file(f"v{i}"))) for i in range(1, 10)]
        for order in (1, -1):
            entries = [(image, {"platform": {"os": "linux", "architecture": "amd64",
                                             "variant": f"v{i + 1}"}})
                       for i, image in enumerate(images)][::order]
            digests = self.layout_of(*entries)[::order]
            self.assertIn(self.lock_of(), digests[:4])
            self.assertEqual(self.lock_of(), digests[self.level() - 1])

    def level(self):
        """The level of the host's CPU according to glibc's loader; without KVM the level of QEMU's CPU."""
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return 3
        out = run("/lib64/ld-linux-x86-64.so.2", "--help")
        return max((i for i in (2, 3, 4) if f"x86-64-v{i} (supported" in out), default=1)

    def test_an_image_without_a_platform_is_taken(self):
        for platform in ({}, {"os": "", "architecture": ""}, {"os": "linux"}):
            with self.subTest(platform=platform):
                image = oci.Image().layer(tar_of(file(f"f{len(platform)}")))
                del image.config["os"], image.config["architecture"]
                image.config.update(platform)
                lock, = self.layout_of((image, {"platform": platform}))
                self.assertEqual(self.lock_of(), lock)

    @harness.needs_program("skopeo")
    def test_a_docker_archive_of_several_images(self):
        archive = self.path("d.tar")
        for name in ("one", "two"):
            layout = self.path(name)
            oci.Image().layer(tar_of(file(name))).save(layout)
            run("skopeo", "copy", "--insecure-policy", f"oci:{layout}:latest",
                f"docker-archive:{self.path(name)}.tar:reg.io/a/{name}:latest",
                env={**os.environ, "TMPDIR": self.folder})
        manifests, members = [], {}
        for name in ("one", "two"):
            with tarfile.open(self.path(name) + ".tar") as tar:
                for member in tar.getmembers():
                    data = tar.extractfile(member)
                    members[member.name] = (member, data.read() if data else b"")
            manifests += json.loads(members.pop("manifest.json")[1])
        ids = [each["Config"].removesuffix(".json") for each in manifests]

        def save():
            oci.write(archive, tar_of(*members.values(),
                                      file("manifest.json", json.dumps(manifests).encode())))
        save()
        ref = "docker-archive:" + archive
        self.fails(1, ref, f"it has reg.io/a/one:latest ({ids[0][:12]}), reg.io/a/two:latest (")
        for name in ("two", "two:latest", "a/two", "reg.io/a/two:latest", "sha256:" + ids[1][:12]):
            self.build(f"{ref}:{name}")
            self.assertEqual(self.revision()["flake_lock_hash"], ids[1])
        self.fails(1, ref + ":latest", "several images that fit")
        manifests[0]["RepoTags"] = manifests[1]["RepoTags"]
        save()
        self.fails(1, ref + ":two", "several images that fit")
        manifests[1]["RepoTags"] = manifests[0]["RepoTags"] = None
        save()
        self.fails(1, ref, f"one without a name ({ids[0][:12]})")


class RunSettings(OciCase):
    CONFIG = {"Entrypoint": ["/bin/server", "--port"], "Cmd": ["80"], "User": "app:staff",
              "Env": ["PATH=/bin", "MODE=image", "EMPTY=", "UNSET"], "WorkingDir": "/srv",
              "StopSignal": "SIGQUIT"}

    def test_image_settings_also_come_from_the_cache(self):
        layout = self.path("image")
        oci.Image(**self.CONFIG).layer(BASE).save(layout)
        self.build(f"oci:{layout}")
        want = {"command": ["/bin/server", "--port", "80"],
                "env": {"PATH": "/bin", "MODE": "image", "EMPTY": ""},
                "workdir": "/srv", "user": "app:staff", "stop_signal": 3}
        self.assertEqual(self.revision()["run"], want)
        self.build(f"oci:{layout}", "second")
        self.assertEqual(self.revision("second")["run"], want)

    def test_oddities_that_container_tools_accept_are_no_error(self):
        for config, run_settings, note in (
                ({"Entrypoint": [""], "Cmd": ["/bin/x"]}, {"command": ["/bin/x"]}, ""),
                ({"Entrypoint": [""]}, {}, ""),
                ({"Cmd": [""]}, {}, "their first word, the program, is empty"),
                ({"StopSignal": "rtmax-3"}, {"stop_signal": 61}, ""),
                ({"StopSignal": "HALT"}, {}, "the image's StopSignal 'HALT' is no signal"),
                ({"User": "1000:"}, {"user": "1000:"}, "")):
            with self.subTest(config=config):
                layout = self.path("image")
                shutil.rmtree(layout, ignore_errors=True)
                oci.Image(**config).layer(BASE).save(layout)
                self.mvm_ok("kernel", "add", KERNEL, "--name", "k", "--force")
                self.mvm_ok("template", "create", "t", "--flake", f"oci:{layout}", "--force")
                done = self.mvm("template", "build", "t", status=0)
                self.assertIn(note, done.stderr)
                self.assertEqual(self.revision().get("run", {}), run_settings)

    @harness.needs_program("debugfs")
    def test_a_working_folder_that_no_layer_has_is_made(self):
        layer = tar_of(folder("srv", mode=0o750), symlink("link", "srv"), file("file"))
        for workdir, made in (("/srv//new/./deep", {"srv/new", "srv/new/deep"}), ("new", {"new"}),
                              ("/srv", set()), ("/", set()), ("/link/new", set()),
                              ("/file/new", set()), ("/../up", set())):
            with self.subTest(workdir=workdir):
                layout = self.path("image")
                shutil.rmtree(layout, ignore_errors=True)
                oci.Image(WorkingDir=workdir).layer(layer).save(layout)
                found = self.describe_image(self.build(f"oci:{layout}"))
                self.assertEqual(set(found) - {".", "srv", "link", "file"}, made)
                for path in made:
                    self.assertEqual((found[path]["type"], found[path]["mode"]), ("d", "0o755"))
                self.assertEqual(found["srv"]["mode"], "0o750")

    def test_the_templates_settings_win(self):
        layout = self.path("image")
        oci.Image(**self.CONFIG).layer(BASE).save(layout)
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        config = self.write("template.toml", f"""
            template_id = "t"
            flake_ref = "oci:{layout}"
            command = ["/bin/other"]
            env = {{ MODE = "template", MORE = "1" }}
            [[variants]]
            name = "t"
            role = "worker"
            vcpus = 1
            mem_mib = 256
            """)
        self.mvm_ok("template", "build", "--config", config)
        run_settings = self.revision()["run"]
        self.assertEqual(run_settings["command"], ["/bin/other"])
        self.assertEqual(run_settings["env"], {"PATH": "/bin", "EMPTY": "", "MODE": "template",
                                               "MORE": "1"})
        self.assertEqual(run_settings["user"], "app:staff")


class Hostile(OciCase):
    """Damaged and hostile images are refused with the right status, and leave nothing behind."""

    def fails(self, status, says, prepare=lambda layout: None, image=None):
        layout = self.path("image")
        shutil.rmtree(layout, ignore_errors=True)
        image = image or oci.Image().layer(BASE)
        image.save(layout)
        prepare(layout)
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k", "--force")
        self.mvm_ok("template", "create", "t", "--flake", f"oci:{layout}", "--force")
        self.mvm_fails(status, "template", "build", "t", says=says)
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])
        self.assertFalse(os.path.exists(os.path.join(self.data_dir, "templates", "t", "current")))

    def blob(self, layout, name):
        return os.path.join(layout, "blobs", *name.split(":"))

    def test_blobs_that_differ_from_their_digests_are_damaged(self):
        for which in ("manifest", "config", "layer"):
            for harm in ("changed", "longer", "shorter", "missing", "link", "folder"):
                with self.subTest(which=which, harm=harm):
                    image = oci.Image().layer(BASE)
                    name = {"manifest": image.manifest()["digest"],
                            "config": oci.digest(json.dumps(image.config).encode()),
                            "layer": image.layers[0]["digest"]}[which]
                    path = self.blob(self.path("image"), name)

                    def damage(_, path=path, harm=harm):
                        with open(path, "rb") as blob:
                            data = blob.read()
                        os.unlink(path)
                        if harm == "folder":
                            os.mkdir(path)
                        elif harm == "link":
                            os.symlink("/etc/passwd", path)
                        elif harm != "missing":
                            oci.write(path, {"changed": data[:-1] + bytes([data[-1] ^ 1]),
                                             "longer": data + b" ", "shorter": data[:-1]}[harm])

                    status = 1 if harm in ("link", "folder") else 5
                    self.fails(status, "is missing" if harm == "missing" else "", damage, image)

    def test_layers_that_differ_from_the_configuration_are_damaged(self):
        self.fails(5, "its digest differs from the image's configuration",
                   image=oci.Image().layer(BASE, diff_id=oci.digest(b"other")))
        image = oci.Image().layer(BASE)
        image.config["rootfs"]["diff_ids"] *= 2
        self.fails(5, "it has 1 layers and digests for 2", image=image)

    def test_streams_that_end_too_early(self):
        for packed in ("", "+gzip"):
            with self.subTest(packed=packed):
                image = oci.Image()
                data = oci.PACK[packed](BASE)[:-5000 if not packed else -20]
                image.layers.append(image.blob(data, oci.TAR_LAYER + packed))
                image.config["rootfs"]["diff_ids"].append(oci.digest(BASE))
                self.fails(5, "is damaged", image=image)

    @harness.needs_program("zstd")
    def test_a_bomb_is_refused_at_once(self):
        image = oci.Image()
        info = tarfile.TarInfo("bomb")
        info.size = 1 << 40
        head = info.tobuf(tarfile.GNU_FORMAT)
        image.layer(head + b"\0" * 1000000, "+zstd")
        self.fails(1, "entry 'bomb': the files unpack to more than 1 GiB", image=image)

    def test_manifests_of_other_artifacts_are_refused(self):
        def is_signature(layout):
            with open(os.path.join(layout, "index.json"), encoding="utf-8") as text:
                index = json.load(text)
            index["manifests"][0]["mediaType"] = "application/vnd.example+json"
            oci.write(os.path.join(layout, "index.json"), json.dumps(index).encode())
        self.fails(3, "has no container image", is_signature)


if __name__ == "__main__":
    harness.main()
