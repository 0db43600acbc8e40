/* SPDX-License-Identifier: Apache-2.0 */
#include "template/presets.h"

#include <stddef.h>

/* Lines that every template.toml ends with. */
#define COMMON_TAIL                                                                                \
	"\n"                                                                                       \
	"# env        = { NAME = \"value\" }   # for the command\n"                                \
	"# network    = \"none\"               # no network; \"user\", the default, is outbound\n" \
	"#                                   # NAT and the ports that 'mvm run -p' forwards\n"     \
	"# kernel     = \"debian-6.1\"         # one of 'mvm kernel list', if there are several\n" \
	"# boot_args  = \"quiet\"              # added to the kernel's command line\n"             \
	"# on_restore = [\"/bin/reload\"]      # run in every clone, once it is unique\n"

/* The workloads here keep no secret, so clones may continue them.  A user's own workload may keep
 * secrets. */
#define SNAPSHOT                                                                                   \
	"\n"                                                                                       \
	"# [snapshot]                        # for a workload that makes keys, seeds or tokens "   \
	"when\n"                                                                                   \
	"# point = \"boot\"                    # it starts: each clone starts its own\n"

#define VARIANTS                                                                                   \
	"\n"                                                                                       \
	"# One template for each variant, named @ID@-<role> unless it has a name of its own. "     \
	"Any\n"                                                                                    \
	"# key above may be set in a variant too, for that variant only.\n"                        \
	"[[variants]]\n"                                                                           \
	"role    = \"worker\"\n"                                                                   \
	"vcpus   = 1\n"                                                                            \
	"mem_mib = 256\n"                                                                          \
	"\n"                                                                                       \
	"# [[variants]]\n"                                                                         \
	"# role    = \"large\"\n"                                                                  \
	"# vcpus   = 4\n"                                                                          \
	"# mem_mib = 2048\n"

#define HEAD(what, build)                                                                          \
	"# " what "\n"                                                                             \
	"#\n"                                                                                      \
	"#   mvm kernel fetch                                       once: a guest kernel\n"        \
	"#   mvm template build --config template.toml --snapshot   " build "\n"                   \
	"#   mvm run --template @ID@-worker -- ls                 starts one in milliseconds\n"    \
	"\n"                                                                                       \
	"template_id = \"@ID@\"\n"

static const char passwd[] = "root:x:0:0:root:/:/bin/sh\n";

static const char busybox_toml[] = HEAD(
	"A microVM with little more than busybox in it.",
	"builds it") "flake_ref   = \"dir:rootfs\"          # the root filesystem: this folder, as "
		     "it is\n"
		     "command     = [\"/bin/busybox\", \"tail\", \"-f\", \"/dev/null\"] # the "
		     "workload: waits\n" COMMON_TAIL "\n"
		     "[health]                            # a snapshot is taken once this holds\n"
		     "exec = [\"/bin/busybox\", \"true\"]     # or http = "
		     "\"http://127.0.0.1:80/\", or tcp = 80\n" SNAPSHOT VARIANTS;

static const char http_toml[] = HEAD(
	"A web server in a microVM: busybox httpd on a root filesystem of a few files.",
	"builds it") "flake_ref   = \"dir:rootfs\"          # the root filesystem: this folder, as "
		     "it is\n"
		     "command     = [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", "
		     "\"-h\", \"/www\"]\n" COMMON_TAIL "\n"
		     "[health]                            # a snapshot is taken once this holds\n"
		     "http = \"http://127.0.0.1:8080/\"     # asked in the guest; or exec = [...], "
		     "or tcp = 8080\n" SNAPSHOT VARIANTS "\n"
		     "# mvm run --template @ID@-worker -d -p 8080:8080; then: curl "
		     "http://127.0.0.1:8080/\n";

static const char http_page[] = "<!doctype html>\n<title>@ID@</title>\n<p>Served by a microVM.\n";

static const char nix_toml[] = HEAD(
	"A microVM whose root filesystem a Nix flake makes.",
	"runs nix build") "flake_ref   = \"path:.\"              # the flake in this folder; see "
			  "flake.nix\n"
			  "profile     = \"minimal\"             # chooses the flake's package, "
			  "with the role\n"
			  "command     = [\"/bin/busybox\", \"tail\", \"-f\", \"/dev/null\"] # the "
			  "workload: waits\n" COMMON_TAIL "\n"
			  "[health]                            # a snapshot is taken once this "
			  "holds\n"
			  "exec = [\"/bin/busybox\", \"true\"]     # or http = "
			  "\"http://127.0.0.1:80/\", or tcp = 80\n" SNAPSHOT VARIANTS;

static const char nix_flake[] =
	"{\n"
	"  description = \"The root filesystem of a microVM\";\n"
	"\n"
	"  # Without inputs it builds offline. With nixpkgs, add\n"
	"  #\n"
	"  #   inputs.nixpkgs.url = \"github:NixOS/nixpkgs/nixos-24.11\";\n"
	"  #\n"
	"  # take it as an argument of outputs, and make the package, for example,\n"
	"  #\n"
	"  #   pkgs.runCommand \"rootfs\" { } ''\n"
	"  #     mkdir -p $out/rootfs/bin\n"
	"  #     cp ${pkgs.pkgsStatic.busybox}/bin/busybox $out/rootfs/bin/\n"
	"  #   '';\n"
	"  outputs = { self }:\n"
	"    let\n"
	"      # The output holds `rootfs` (a folder, a tar or an ext4 image) and, if the image "
	"brings\n"
	"      # its own, `vmlinux` and `lib/modules`.\n"
	"      rootfs = system: derivation {\n"
	"        name = \"rootfs\";\n"
	"        inherit system;\n"
	"        builder = \"${./rootfs}/bin/busybox\";\n"
	"        args = [ \"sh\" \"-ec\" \"${./rootfs}/bin/busybox mkdir $out && "
	"${./rootfs}/bin/busybox cp -dR ${./rootfs} $out/rootfs\" ];\n"
	"      };\n"
	"    in\n"
	"    {\n"
	"      # mvm takes the first package of tenant-<role>-<profile>, <role>-<profile>,\n"
	"      # <profile>, <role> and so on; for the profile minimal, the last one is default.\n"
	"      packages.x86_64-linux.default = rootfs \"x86_64-linux\";\n"
	"      packages.aarch64-linux.default = rootfs \"aarch64-linux\";\n"
	"    };\n"
	"}\n";

const struct preset presets[] = {
	{ "busybox",
	  { { "rootfs/bin/busybox", PRESET_BUSYBOX, NULL },
	    { "rootfs/bin", PRESET_APPLETS, NULL },
	    { "rootfs/etc/passwd", PRESET_TEXT, passwd },
	    { "rootfs/tmp", PRESET_FOLDER, NULL },
	    { "template.toml", PRESET_TEXT, busybox_toml } } },
	{ "http",
	  { { "rootfs/bin/busybox", PRESET_BUSYBOX, NULL },
	    { "rootfs/bin", PRESET_APPLETS, NULL },
	    { "rootfs/etc/passwd", PRESET_TEXT, passwd },
	    { "rootfs/tmp", PRESET_FOLDER, NULL },
	    { "rootfs/www/index.html", PRESET_TEXT, http_page },
	    { "template.toml", PRESET_TEXT, http_toml } } },
	{ "nix",
	  { { "rootfs/bin/busybox", PRESET_BUSYBOX, NULL },
	    { "rootfs/bin", PRESET_APPLETS, NULL },
	    { "rootfs/etc/passwd", PRESET_TEXT, passwd },
	    { "flake.nix", PRESET_TEXT, nix_flake },
	    { "template.toml", PRESET_TEXT, nix_toml } } },
	{ 0 },
};
