# SPDX-License-Identifier: Apache-2.0
"""Outputs of a flake: root folders, tars, images, kernels with their modules."""

import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import harness
from flakes import FAILED, NOT_FOUND, SYSTEM, TestCase, read, rootfs_with, sha256, tiny_kernel


class Outputs(TestCase):
    def ext4(self, name="flake/image.ext4"):
        os.makedirs(self.path("tree", "etc"), exist_ok=True)
        self.write("tree/etc/name", "ext4\n")
        path = self.path(name)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", self.path("tree"), path, "4M"],
                       check=True, timeout=harness.PATIENCE_S, stdout=subprocess.DEVNULL)
        return path

    def test_a_folder_becomes_an_image(self):
        self.flake({"default": rootfs_with("folder") + "; $bb ln -s /etc/name $out/rootfs/link; "
                                                       "$bb chmod 755 $out/rootfs/etc/name"})
        self.build()
        self.check_image()
        self.assertEqual(self.guest_file("/etc/name"), b"folder\n")
        stats = subprocess.run(["debugfs", "-R", "stat /etc/name", self.current("rootfs.ext4")],
                               capture_output=True, text=True, check=True,
                               timeout=harness.PATIENCE_S).stdout
        self.assertRegex(stats, r"Mode: +0555") # the mode in Nix's store
        self.assertRegex(stats, r"User: +0 +Group: +0")

    def test_a_tar_becomes_an_image(self):
        self.flake({"default": rootfs_with("tar") + "; $bb tar -cf $out/t -C $out/rootfs .; "
                               "$bb rm -r $out/rootfs; $bb mv $out/t $out/rootfs"})
        self.build()
        self.check_image()
        self.assertEqual(self.guest_file("/etc/name"), b"tar\n")

    def test_an_ext4_image_is_stored_unchanged(self):
        path = self.ext4()
        for name in ("rootfs.ext4", "rootfs"):
            self.flake({"default": "$bb mkdir $out; $bb cp ${./image.ext4} $out/" + name})
            self.build()
            self.assertEqual(sha256(read(self.current("rootfs.ext4"))), sha256(read(path)))
        # a link to another path of the store works, too
        self.flake({"default": "$bb mkdir $out; $bb ln -s ${./image.ext4} $out/rootfs.ext4"})
        self.build()
        self.assertEqual(sha256(read(self.current("rootfs.ext4"))), sha256(read(path)))

    def test_an_ext4_image_that_a_guest_could_not_mount_is_refused(self):
        path = self.ext4()
        whole = read(path)
        self.flake({"default": "$bb mkdir $out; $bb cp ${./image.ext4} $out/rootfs.ext4"})
        dirty = bytearray(whole)
        dirty[1024 + 0x3a] &= 0xfe
        replay = bytearray(whole)
        replay[1024 + 0x60] |= 4
        for image, says in ((dirty, "is not clean"), (replay, "is not clean"),
                            (whole[:-4096], "is truncated")):
            with open(path, "wb") as file:
                file.write(image)
            with self.subTest(says=says):
                self.build_fails(FAILED, says=says)

    def test_an_output_of_another_shape_is_described(self):
        self.flake({"default": "$bb mkdir $out; echo x >$out/image.img; echo y >$out/readme"})
        self.assertIn("has neither rootfs.ext4 nor rootfs; it has image.img, readme",
                      self.build_fails(FAILED))
        self.flake({"default": "echo x >$out"})
        self.assertIn("is a file", self.build_fails(FAILED))

    def test_a_link_out_of_the_store_is_refused(self):
        self.write("secret/etc/shadow", "secret\n")
        self.flake({"default": f"$bb mkdir $out; $bb ln -s {self.path('secret')} $out/rootfs"})
        self.build_fails(FAILED, says="outside of")

    def test_a_kernel_comes_from_the_flake_with_its_modules(self):
        self.mvm_ok("kernel", "rm", "tiny")
        shutil.copy(self.path("kernel.elf"), self.path("flake", "vmlinux"))
        corpus = os.path.join(harness.SOURCE_DIR, "tests", "fuzz", "corpus", "module")
        shutil.copy(os.path.join(corpus, "overlay.ko"), self.path("flake", "overlay.ko"))
        modules = "$out/lib/modules/6.1.0-test"
        self.flake({
            "worker": rootfs_with("bare") + "; $bb cp ${./vmlinux} $out/vmlinux",
            "scan": rootfs_with("scan") + f"; $bb cp ${{./vmlinux}} $out/kernel; "
                    f"$bb mkdir -p {modules}/kernel/fs; "
                    f"$bb ln -s ${{./overlay.ko}} {modules}/kernel/fs/overlay.ko",
            "dep": rootfs_with("dep") + f"; $bb cp ${{./vmlinux}} $out/vmlinux; "
                   f"$bb mkdir -p {modules}/kernel/fs; "
                   f"$bb gzip -c ${{./overlay.ko}} >{modules}/kernel/fs/overlay.ko.gz; "
                   f"echo kernel/fs/overlay.ko.gz: >{modules}/modules.dep",
            "mixed": rootfs_with("mixed") + "; $bb cp ${./vmlinux} $out/vmlinux; "
                     "$bb mkdir -p $out/lib/modules/5.10.0",
        })
        self.build()
        self.assertEqual(read(self.current("vmlinux")), read(self.path("kernel.elf")))
        self.assertNotIn(b"overlay.ko", read(self.current("initrd")))
        for name in ("scan", "dep"):
            self.build(config=self.config(f"path:./flake#{name}"))
            initrd = read(self.current("initrd"))
            self.assertIn(b"lib/modules/mvm/overlay.ko", initrd)
            self.assertIn(read(self.path("flake", "overlay.ko")), initrd)
        self.build_fails(FAILED, config=self.config("path:./flake#mixed"),
                         says="no modules for kernel '6.1.0-test', but for '5.10.0'")

    def test_a_kernel_that_the_template_names_is_used_instead(self):
        with open(self.path("flake", "vmlinux"), "wb") as file:
            file.write(tiny_kernel("5.0.0"))
        self.flake({"default": rootfs_with("x") + "; $bb cp ${./vmlinux} $out/vmlinux"})
        config = self.config()
        self.build(config=config)
        self.assertIn(b"5.0.0", read(self.current("vmlinux")))
        text = read(config).decode().replace("[[variants]]", 'kernel = "tiny"\n[[variants]]')
        self.build(config=self.write("named.toml", text))
        self.assertIn(b"6.1.0-test", read(self.current("vmlinux")))

    def test_a_template_without_a_kernel_is_refused(self):
        self.mvm_ok("kernel", "rm", "tiny")
        self.flake({"default": rootfs_with("x")})
        self.build_fails(NOT_FOUND, says="the image has no kernel")


class Example(TestCase):
    """examples/nixos, with a stand-in for nixpkgs."""

    STAND_IN = '''{ outputs = { self }: let
  bb = "${./bin}/busybox";
  make = name: script: derivation {
    inherit name bb; system = "SYSTEM"; builder = bb;
    args = [ "sh" "-euc"
      ("mkdir() { $bb mkdir \\"$@\\"; }; ln() { $bb ln \\"$@\\"; }; " + script) ];
  };
in {
  legacyPackages."SYSTEM" = {
    runCommand = name: env: script: make name script;
    callPackage = path: { storePaths, volumeLabel, populateImageCommands }:
      make "image" (populateImageCommands + "$bb cp ${./image.ext4} $out");
  };
  # every module is called as NixOS would call it, and all that it sets is evaluated
  lib.nixosSystem = { system, modules }: let
    pkgs.writeTextDir = name: text: "/" + name;
    evaluate = module: builtins.deepSeq (import module {
      inherit pkgs; modulesPath = "/modules"; config = { }; lib = { };
    });
  in assert builtins.all (m: evaluate m true) modules; {
      config.system.build.toplevel = make "nixos" "mkdir $out";
      config.system.modulesTree = ./.;
      config.boot.kernelPackages.kernel = ./.;
    };
}; }'''

    def test_the_kernel_has_all_features_that_templates_need(self):
        shutil.copytree(os.path.join(harness.SOURCE_DIR, "examples", "nixos"), self.path("nixos"))
        self.write("nixpkgs/flake.nix", self.STAND_IN.replace("SYSTEM", SYSTEM))
        shutil.copytree(self.path("flake", "bin"), self.path("nixpkgs", "bin"))
        shutil.copy(self.path("kernel.elf"), self.path("nixpkgs", "bzImage"))
        self.write("nixpkgs/lib/modules/6.1.0-test/modules.dep", "")
        Outputs.ext4(self, "nixpkgs/image.ext4")

        text = read(self.path("nixos", "flake.nix")).decode()
        where = "github:NixOS/nixpkgs/nixos-24.11"
        self.assertIn(where, text)
        text = text.replace(where, "path:" + self.path("nixpkgs"))
        self.write("nixos/flake.nix", text.replace("x86_64-linux", SYSTEM))
        self.nix("flake", "lock", "path:" + self.path("nixos"))

        self.mvm_ok("template", "build", "--config", self.path("nixos", "template.toml"))
        for role in ("worker", "web"):
            name = "nixos-" + role
            self.assertEqual(self.revision(name)["build"]["attribute"], role)
            self.assertEqual(self.guest_file("/etc/name", name), b"ext4\n")
            self.assertEqual(read(self.current("vmlinux", name=name)),
                             read(self.path("kernel.elf")))


@harness.needs_guests
class Guests(TestCase):
    @harness.needs_program("dpkg-deb")
    def test_a_guest_boots_with_the_flake_s_own_kernel_and_modules(self):
        self.mvm_ok("kernel", "rm", "tiny")
        subprocess.run(["dpkg-deb", "-x", os.environ["MVM_TEST_KERNEL_DEB"], self.path("deb")],
                       check=True, timeout=harness.PATIENCE_S)
        boot, modules = self.path("deb", "boot"), self.path("deb", "lib", "modules")
        vmlinuz = next(n for n in os.listdir(boot) if n.startswith("vmlinuz"))
        shutil.copy(os.path.join(boot, vmlinuz), self.path("flake", "vmlinuz"))
        shutil.copytree(modules, self.path("flake", "modules"), symlinks=True)
        self.flake({"default": rootfs_with("nix") + "; $bb mkdir -p $out/lib $out/rootfs/bin; "
                    "$bb cp $bb $out/rootfs/bin/busybox; $bb ln -s busybox $out/rootfs/bin/sh; "
                    "$bb ln -s busybox $out/rootfs/bin/cat; $bb ln -s ${./vmlinuz} $out/kernel; "
                    "$bb ln -s ${./modules} $out/lib/modules"})
        config = self.config()
        text = read(config).decode().replace(
            "[[variants]]", 'command = ["/bin/busybox", "tail", "-f", "/dev/null"]\n[[variants]]')
        self.build(config=self.write("boot.toml", text))
        self.assertEqual(self.mvm_ok("run", "--template", "t", "--", "/bin/cat", "/etc/name"),
                         "nix\n")


if __name__ == "__main__":
    harness.main()
