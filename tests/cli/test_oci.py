# SPDX-License-Identifier: Apache-2.0
"""OCI images and tars as sources, and the images that mvm makes of them."""

import os
import shutil
import tarfile
import unittest

import harness
import oci_images as oci
from oci_case import BASE, KERNEL, OciCase, run
from oci_images import file, folder, hard_link, opaque, symlink, tar_of, whiteout, xattrs

# The root, folders without an entry, and their parents have the time of the unpacking.
MADE_BY_UMOCI = (".: mtime", "usr: mtime", "usr/lib: mtime", "usr/lib/deep: mtime")

# Links are followed and replaced within one tar.
LINKS = tar_of(folder("usr"), folder("usr/bin"), symlink("bin", "usr/bin"), file("bin/b", b"b"),
               hard_link("same", "bin/b"), symlink("abs", "/usr"), folder("abs/deep"),
               file("abs/deep/c", b"c"), folder("later"), file("later/gone"),
               symlink("later", "usr"), file("later/d", b"d"), whiteout("nothing"))


@harness.needs_program("umoci")
@unittest.skipIf(oci.why_no_unpacking(), oci.why_no_unpacking())
@harness.needs_program("debugfs")
class AsUmociUnpacksIt(OciCase):
    """Every file is as umoci unpacks it: type, mode, owner, size, time, target, device, attributes, contents."""

    def compare(self, *layers, packed="+gzip", but=()):
        image = oci.Image()
        for layer in layers:
            image.layer(layer, packed)
        layout = self.path("image")
        shutil.rmtree(layout, ignore_errors=True)
        image.save(layout)
        ours = self.describe_image(self.build(f"oci:{layout}"))
        self.assert_same(ours, self.unpack(layout), but)
        return ours

    def test_one_layer_with_everything_in_it(self):
        long_name = "n" * 200 + "/" + "m" * 200
        ours = self.compare(tar_of(
            folder(".", mode=0o755),
            file("suid", b"x" * 70000, mode=0o4755, uid=100000, gid=4000000000),
            file("twice", b"same"), hard_link("dir/again", "twice"),
            symlink("link", "twice"), symlink("far", "/" + "x/" * 100),
            folder("dir", mode=0o1777),
            oci.entry("dev/null", tarfile.CHRTYPE, device=(1, 3), mode=0o666),
            oci.entry("dev/sda", tarfile.BLKTYPE, device=(8, 300), mode=0o660),
            oci.entry("fifo", tarfile.FIFOTYPE, mode=0o600),
            file("attributes", b"a", pax_headers=xattrs(user__one="1", user__two="zwei")),
            folder("attributed", pax_headers=xattrs(user__of="folder")),
            file(long_name, b"long"), file("ümlaut-" + "ö" * 60, b"utf-8"),
            symlink("zu-weit", "ä" * 150),
            file("ping", pax_headers=xattrs(security__capability="\1\0\0\2\0 " + "\0" * 14)),
        ), but=MADE_BY_UMOCI + ("dev: mtime", "n" * 200 + ": mtime"))
        self.assertEqual(ours["suid"]["owner"], (100000, 4000000000))

    def test_names_are_bytes_in_every_form_of_tar(self):
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with self.subTest(form=form):
                entries = [file("ü", b"1"), file("\udcff\udcfe", b"2")]
                if form != tarfile.USTAR_FORMAT:
                    entries += [file("long" * 40 + "é", b"3"), file("b" * 101 + "\udcff", b"4")]
                if form == tarfile.PAX_FORMAT: # pax names are UTF-8
                    entries = [each for each in entries if "\udcff" not in each[0].name]
                self.compare(tar_of(*entries, form=form), but=MADE_BY_UMOCI)

    def test_whiteouts_opaque_folders_and_links_between_layers(self):
        ours = self.compare(
            BASE,
            tar_of(whiteout("gone"), whiteout("never-there"), whiteout("nowhere/x"),
                   file("emptied/new", b"n"), opaque("emptied"),
                   folder("emptied", mode=0o700), file("sbin/tool", b"tool"),
                   file("lib/deep/so", b"so"), hard_link("alias", "sbin/tool"),
                   file("kept/b", b"b"), whiteout("kept/a")),
            tar_of(file("etc/hostname", b"upper\n", mode=0o600), symlink("etc/link", "hostname"),
                   folder("gone"), file("kept", b"a file now")),
            but=MADE_BY_UMOCI)
        self.assertNotIn("gone/a", ours)
        self.assertNotIn("emptied/old", ours)
        self.assertNotIn("emptied/deep", ours)
        self.assertIn("emptied/new", ours)
        if not ours["kept"].get("incomplete"):
            self.assertEqual(ours["usr/bin/tool"]["names"], ["alias", "usr/bin/tool"])
        self.assertEqual(ours["kept"]["type"], "-")

    def test_links_within_one_layer(self):
        self.compare(LINKS, but=MADE_BY_UMOCI + ("usr/bin: mtime",))

    def test_compressions(self):
        for packed in ("", "+gzip"):
            with self.subTest(packed=packed):
                self.compare(BASE, tar_of(), packed=packed, but=MADE_BY_UMOCI)

    def test_sparse_files(self):
        source = self.path("sparse-source")
        os.makedirs(source)
        with open(os.path.join(source, "holes"), "wb") as out:
            out.truncate(5 << 20)
            out.seek(1 << 20)
            out.write(b"middle" * 1000)
            out.seek((5 << 20) - 10)
            out.write(b"end")
        for form in ("gnu", "posix"):
            with self.subTest(form=form):
                tar = self.path("sparse.tar")
                run("tar", "--sparse", f"--format={form}", "-C", source, "-cf", tar, ".")
                with open(tar, "rb") as layer:
                    image = oci.Image().layer(layer.read())
                layout = self.path("image")
                shutil.rmtree(layout, ignore_errors=True)
                image.save(layout)
                ours = self.describe_image(self.build(f"oci:{layout}"))
                if form == "posix": # the only form that umoci reads
                    self.assert_same(ours, self.unpack(layout))
                self.assertEqual(self.image_of_tar(tar), self.image_of_tar(layout, "oci:"))
                self.assertEqual(ours["holes"]["sha256"],
                                 oci.digest_of_file(os.path.join(source, "holes")))


class TarAndImage(OciCase):
    """A tar gives the same result as an image with that tar as its only layer."""

    def write_tar(self, data):
        oci.write(self.path("root.tar"), data)
        return self.path("root.tar")

    def build_both(self, tar, **more):
        oci.write(self.path("root.tar"), tar)
        layout = self.path("image")
        shutil.rmtree(layout, ignore_errors=True)
        oci.Image().layer(tar, "").save(layout)
        first = self.image_of_tar(self.path("root.tar"), **more)
        self.assertEqual(self.image_of_tar(layout, "oci:", **more), first)
        return self.artifact("t", "rootfs.ext4")

    def test_links_are_followed_in_both(self):
        found = self.describe_image(self.build_both(LINKS))
        self.assertEqual({path for path in found if found[path]["type"] == "-"},
                         {"usr/bin/b", "same", "usr/deep/c", "usr/d"})
        self.assertEqual(found["bin"]["type"], "l")

    def test_everything_else_is_unpacked_as_umoci_does(self):
        self.build_both(tar_of(
            folder(".", mode=0o711), file("suid", b"x" * 70000, mode=0o4755, uid=7),
            symlink("link", "suid"), hard_link("dir/again", "suid"), folder("dir", mode=0o1777),
            oci.entry("null", tarfile.CHRTYPE, device=(1, 3)), oci.entry("p", tarfile.FIFOTYPE),
            file("attr", b"a", pax_headers=xattrs(user__one="1")), file("suid", b"other")))

    def test_holes_cost_nothing(self):
        source = self.path("holes")
        os.makedirs(source)
        for i in range(4):
            with open(os.path.join(source, f"f{i}"), "wb") as out:
                out.truncate(1 << 40)
                out.seek((i << 32) + 5)
                out.write(b"here")
        for form in ("gnu", "posix"):
            with self.subTest(form=form):
                run("tar", "--sparse", f"--format={form}", "-C", source, "-cf", self.path("h.tar"),
                    ".")
                with open(self.path("h.tar"), "rb") as tar:
                    image = self.build_both(tar.read())
                self.assertLessEqual(os.path.getsize(image), 4 << 20)
                run("e2fsck", "-fn", image)
                out = run("debugfs", "-R", "stat /f3", image)
                self.assertRegex(out, rf"Size: {1 << 40}\n")
                self.assertRegex(out, rf"\({(3 << 32) // 4096}(-\d+)?\):")

    def test_a_layer_that_unpacks_to_too_much_is_refused(self):
        info = tarfile.TarInfo("bomb")
        info.size = (1 << 30) + 1
        head = info.tobuf(tarfile.GNU_FORMAT)
        oci.write(self.path("bomb.tar"), head + b"\0" * 10000)
        oci.write(self.path("bomb.tar.gz"), oci.PACK["+gzip"](head + b"\0" * 10000))
        layout = self.path("image")
        oci.Image().layer(head + b"\0" * 10000).save(layout)
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        for ref in ("tar:" + self.path("bomb.tar"), "tar:" + self.path("bomb.tar.gz"),
                    "oci:" + layout):
            self.mvm_ok("template", "create", "t", "--flake", ref, "--force")
            self.mvm_fails(1, "template", "build", "t", says="entry 'bomb': the files unpack to "
                           "more than 1 GiB\nhint: if you trust the image, 'mvm template build t "
                           "--max-image-size SIZE' allows more")

    def test_compressions_are_not_looked_for_inside_each_other(self):
        nothing = oci.PACK["+gzip"](b"")
        inner = oci.PACK["+gzip"](nothing * 200000) # each level is tiny, and unpacks to nothing
        oci.write(self.path("nested.tar.gz"), oci.PACK["+gzip"](inner))
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.mvm_ok("template", "create", "t", "--flake", "tar:" + self.path("nested.tar.gz"))
        self.mvm_fails(5, "template", "build", "t", says="is damaged", cpu_s=60)

    def test_a_folder_is_cleared_once_in_a_layer(self):
        opaque = tarfile.TarInfo("d/.wh..wh..opq").tobuf(tarfile.GNU_FORMAT)
        files = b"".join(tarfile.TarInfo(f"d/{n}").tobuf(tarfile.GNU_FORMAT) for n in range(40000))
        oci.write(self.path("opaque.tar"), files + opaque * 200000 + b"\0" * 1024)
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.mvm_ok("template", "create", "t", "--flake", "tar:" + self.path("opaque.tar"))
        self.mvm_ok("template", "build", "t", cpu_s=100) # it took minutes

    def test_a_decompressor_s_memory_is_bounded(self):
        tar = tar_of(file("f", b"f" * 1000))
        image = self.image_of_tar(self.write_tar(tar))
        for packed in (oci.xz(tar, 28), oci.xz(tar, 30), oci.lzma_alone(tar, 128 << 20),
                       oci.xz(tar[:512], 0) + oci.xz(tar[512:], 30)):
            self.assertEqual(self.image_of_tar(self.write_tar(packed)), image)
        for packed in (oci.xz(tar, 31), oci.xz(tar, 40), oci.lzma_alone(tar, 1 << 30),
                       oci.xz(tar[:512], 0) + oci.xz(tar[512:], 40)): # the limit also counts after the first block
            self.mvm_ok("template", "create", "t", "--force",
                        "--flake", "tar:" + self.write_tar(packed))
            self.mvm_fails(1, "template", "build", "t", says="root.tar' needs a dictionary of more "
                           "than 128 MiB to unpack\nhint: compress it again with a dictionary of "
                           "at most 128 MiB: 'xz -9'")

    def test_a_cut_xz_is_damaged(self):
        packed = oci.xz(tar_of(file("f", os.urandom(100000))), 20)
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        for cut in (packed[:-20], packed[:50000], packed[:60000] + b"\0" * 100 + packed[60100:]):
            self.mvm_ok("template", "create", "t", "--force",
                        "--flake", "tar:" + self.write_tar(cut))
            self.mvm_fails(5, "template", "build", "t", says="root.tar' is damaged: the compressed "
                           "data")

    def test_a_name_that_looks_like_a_compression_is_a_name(self):
        for name in ("BZh91AY", "BZhang", "]", "(\udcb5/\udcfd", "\x1f\udc8b", "\x02!L\x18"):
            found = self.describe_image(self.build_both(tar_of(file(name, b"x"),
                                                               form=tarfile.GNU_FORMAT)))
            self.assertEqual(sum(each["type"] == "-" for each in found.values()), 1)

    def test_a_wrong_checksum_is_damage(self):
        tar = bytearray(tar_of(file("a"), file("b"), form=tarfile.GNU_FORMAT))
        tar[512 + 100] ^= 1 # in the second header
        self.write_tar(tar)
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.mvm_ok("template", "create", "t", "--flake", "tar:" + self.path("root.tar"))
        self.mvm_fails(5, "template", "build", "t", says="root.tar' is damaged: Damaged tar archive")

    def test_type_0_with_a_slash_is_a_folder(self):
        found = self.describe_image(self.build_both(tar_of(file("d/"))))
        self.assertEqual(found["d"]["type"], "d")

    def test_the_limit_can_be_lifted_and_lowered(self):
        tar = tar_of(file("zeros", b"\0" * (2 << 20)), file("more", b"m" * (2 << 20)))
        layout = self.path("image")
        oci.Image().layer(tar).layer(tar).save(layout)
        oci.write(self.path("z.tar.gz"), oci.PACK["+gzip"](tar))
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        for ref, too_small, enough in (("tar:" + self.path("z.tar.gz"), "4M", "5M"),
                                       ("oci:" + layout, "8M", "9M")): # together
            self.mvm_ok("template", "create", "t", "--flake", ref, "--force")
            self.mvm_fails(1, "template", "build", "t", "--max-image-size", too_small,
                           says=f"the files unpack to more than {too_small[0]} MiB")
            self.mvm_ok("template", "build", "t", "--max-image-size", enough)
            # the limit also counts for a build from the cache
            done = self.mvm("template", "build", "t", "--max-image-size", enough, status=0)
            self.assertIn("taken from the cache", done.stderr)
            for more in ((), ("--dry-run",)):
                self.mvm("template", "build", "t", "--max-image-size", too_small, *more,
                         status=0 if more else 1)
            done = self.mvm("template", "build", "t", status=0)
            self.assertIn("taken from the cache", done.stderr)

    def test_layers_without_a_byte_add_nothing(self):
        for packed in oci.PACK:
            with self.subTest(packed=packed):
                layout = self.path("image")
                shutil.rmtree(layout, ignore_errors=True)
                image = oci.Image().layer(b"", packed).layer(BASE).layer(b"", packed)
                image.save(layout)
                first = self.image_of_tar(layout, "oci:")
                shutil.rmtree(layout)
                oci.Image().layer(BASE).save(layout)
                self.assertEqual(self.image_of_tar(layout, "oci:"), first)
                run("tar", "-C", layout, "-cf", self.path("a.tar"), ".")
                self.assertEqual(self.image_of_tar(self.path("a.tar"), "oci-archive:"), first)


@harness.needs_program("skopeo")
class Conversions(OciCase):
    """An image in any form that skopeo writes gives the same root image."""

    def test_every_form_gives_the_same_bytes(self):
        layout = self.path("image")
        oci.Image(Cmd=["/bin/true"]).layer(BASE).layer(tar_of(whiteout("gone"))).save(layout)
        first = oci.digest_of_file(self.build(f"oci:{layout}"))
        forms = [("oci", "zstd:zz", ["--dest-compress-format", "zstd", "--dest-compress"]),
                 ("oci-archive", "a.tar:tag", []), ("docker-archive", "d.tar:web/api:v1", [])]
        for kind, name, options in forms:
            with self.subTest(form=kind, options=options):
                run("skopeo", "copy", "--insecure-policy", *options, f"oci:{layout}:latest",
                    f"{kind}:{self.path(name)}", env={**os.environ, "TMPDIR": self.folder})
                image = self.build(f"{kind}:{self.path(name)}")
                self.assertEqual(oci.digest_of_file(image), first)
                self.assertEqual(self.revision()["run"]["command"], ["/bin/true"])
        for name in ("d.tar:v1", "d.tar:web/api:v1", "d.tar:api:v1", "d.tar"):
            self.build("docker-archive:" + self.path(name))
        self.mvm_ok("template", "create", "t", "--flake",
                    "docker-archive:" + self.path("d.tar:v2"), "--force")
        self.mvm_fails(3, "template", "build", "t", says="no image named 'v2'; it has")

    @harness.needs_program("zstd")
    def test_layers_compressed_with_zstd(self):
        layout = self.path("image")
        oci.Image().layer(BASE, "+zstd").save(layout)
        packed = oci.digest_of_file(self.build(f"oci:{layout}"))
        shutil.rmtree(layout)
        oci.Image().layer(BASE, "").save(layout)
        self.assertEqual(oci.digest_of_file(self.build(f"oci:{layout}", "other")), packed)


if __name__ == "__main__":
    harness.main()
