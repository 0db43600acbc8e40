/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's command line and the facts that a snapshot depends on, compared with golden text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/qemu/qemu.h"

static char binary[] = "/usr/bin/qemu-system-x86_64";
static char version[] = "7.2.22 (Debian 1:7.2)";

static struct vmm_probe probe_of(enum vmm_accel accel)
{
	return (struct vmm_probe){
		.usable = true,
		.binary = binary,
		.version = version,
		.accel = accel,
		.tsc_khz = 2600000,
	};
}

static const struct vmm_forward forwards[] = {
	{ .host_address = "127.0.0.1", .host_port = 8080, .guest_port = 80 },
	{ .udp = true, .host_address = "0.0.0.0", .host_port = 53, .guest_port = 5353 },
};

static struct vmm_config full_config(enum vmm_memory memory)
{
	return (struct vmm_config){
		.name = "web,1",
		.vcpus = 2,
		.mem_mib = 256,
		.kernel = "vmlinux",
		.initrd = "initrd",
		.cmdline = "console=ttyS0 a,b",
		.drives = { { .name = "rootfs.ext4", .read_only = true }, { .name = "data.ext4" } },
		.n_drives = 2,
		.network = true,
		.forwards = forwards,
		.n_forwards = 2,
		.memory = memory,
		.memory_name = "mem.bin",
	};
}

static void assert_lines(const struct strv *got, const char *wanted)
{
	AUTO_DONE(strbuf) text = { 0 };
	for (size_t i = 0; i < got->n; i++)
		strbuf_addf(&text, "%s%s", got->v[i], got->v[i][0] == '-' ? " " : "\n");
	assert_string_equal(text.data, wanted);
}

#define COMMON_TAIL                                                                                \
	"-object {\"qom-type\":\"rng-builtin\",\"id\":\"rng0\"}\n"                                 \
	"-device {\"driver\":\"virtio-blk-device\",\"drive\":\"drive0\"}\n"                        \
	"-device {\"driver\":\"virtio-blk-device\",\"drive\":\"drive1\"}\n"                        \
	"-device {\"driver\":\"virtio-net-device\",\"netdev\":\"net0\","                           \
	"\"mac\":\"52:54:00:6d:76:6d\",\"host_mtu\":14624,\"guest_announce\":false}\n"             \
	"-device {\"driver\":\"virtio-rng-device\",\"rng\":\"rng0\"}\n"                            \
	"-device {\"driver\":\"virtio-serial-device\",\"id\":\"serial0\",\"max_ports\":2}\n"       \
	"-device {\"driver\":\"virtserialport\",\"bus\":\"serial0.0\",\"chardev\":\"agent\","      \
	"\"name\":\"dev.mvm.agent\"}\n"

#define COMMON_MIDDLE                                                                              \
	"-chardev socket,id=qmp,fd=3\n"                                                            \
	"-chardev socket,id=agent,fd=4\n"                                                          \
	"-chardev socket,id=console,fd=5\n"                                                        \
	"-mon chardev=qmp,mode=control\n"                                                          \
	"-serial chardev:console\n"                                                                \
	"-blockdev {\"driver\":\"raw\",\"node-name\":\"drive0\",\"read-only\":true,\"file\":"      \
	"{\"driver\":\"file\",\"filename\":\"/proc/self/fd/10\",\"locking\":\"off\"}}\n"           \
	"-blockdev {\"driver\":\"raw\",\"node-name\":\"drive1\",\"read-only\":false,\"file\":"     \
	"{\"driver\":\"file\",\"filename\":\"/proc/self/fd/11\",\"locking\":\"off\"}}\n"           \
	"-netdev {\"type\":\"socket\",\"id\":\"net0\",\"fd\":\"6\"}\n"

#define COMMON_FLAGS                                                                               \
	"-smp 2\n"                                                                                 \
	"-nodefaults -no-user-config -display none\n"                                              \
	"-no-reboot -S -sandbox "                                                                  \
	"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n"                \
	"-global migration.store-global-state=off\n"                                               \
	"-global migration.announce-rounds=1\n"                                                    \
	"-global virtio-blk-device.werror=report\n"                                                \
	"-m 256\n"

static void a_machine_to_capture_under_tcg(void **state)
{
	(void)state;
	struct vmm_probe p = probe_of(VMM_ACCEL_TCG);
	struct vmm_config c = full_config(VMM_MEMORY_CAPTURE);
	AUTO_DONE(strv) args = { 0 };
	struct mvm_error err;
	assert_int_equal(qemu_args(&p, &c, &args, &err), 0);
	assert_lines(&args,
		     "/usr/bin/qemu-system-x86_64\n"
		     "-name guest=web,,1\n"
		     "-M microvm,pit=on,pic=on,rtc=on,acpi=on,x-option-roms=off,"
		     "auto-kernel-cmdline=off,memory-backend=m\n"
		     "-accel tcg,tb-size=64\n"
		     "-cpu max,-erms,-fsrm\n" COMMON_FLAGS
		     "-object {\"qom-type\":\"memory-backend-file\",\"id\":\"m\","
		     "\"size\":268435456,\"mem-path\":\"/proc/self/fd/7\","
		     "\"share\":true}\n" COMMON_MIDDLE COMMON_TAIL "-kernel /proc/self/fd/8\n"
		     "-initrd /proc/self/fd/9\n"
		     "-append console=ttyS0 a,b\n");
}

static void a_clone_under_kvm(void **state)
{
	(void)state;
	struct vmm_probe p = probe_of(VMM_ACCEL_KVM);
	struct vmm_config c = full_config(VMM_MEMORY_CLONE);
	AUTO_DONE(strv) args = { 0 };
	struct mvm_error err;
	assert_int_equal(qemu_args(&p, &c, &args, &err), 0);
	assert_lines(&args, "/usr/bin/qemu-system-x86_64\n"
			    "-name guest=web,,1\n"
			    "-M microvm,acpi=on,x-option-roms=off,auto-kernel-cmdline=off,"
			    "memory-backend=m\n"
			    "-accel kvm\n"
			    "-cpu host\n" COMMON_FLAGS
			    "-object {\"qom-type\":\"memory-backend-file\",\"id\":\"m\","
			    "\"size\":268435456,\"mem-path\":\"/proc/self/fd/7\","
			    "\"share\":false}\n" COMMON_MIDDLE COMMON_TAIL "-incoming defer\n");
}

static void a_plain_machine_has_neither_memory_file_nor_network(void **state)
{
	(void)state;
	struct vmm_probe p = probe_of(VMM_ACCEL_TCG);
	struct vmm_config c = full_config(VMM_MEMORY_PRIVATE);
	AUTO_DONE(strv) args = { 0 };
	struct mvm_error err;
	c.network = false;
	c.n_drives = 0;
	c.initrd = NULL;
	assert_int_equal(qemu_args(&p, &c, &args, &err), 0);
	assert_true(strv_has(&args, "{\"qom-type\":\"memory-backend-ram\",\"id\":\"m\","
				    "\"size\":268435456}"));
	assert_false(strv_has(&args, "-netdev"));
	assert_false(strv_has(&args, "-blockdev"));
	assert_false(strv_has(&args, "-initrd"));
	assert_false(strv_has(&args, "-incoming"));
}

static void the_command_line_ends_in_the_templates_additions(void **state)
{
	(void)state;
	static char long_text[4000];
	memset(long_text, 'x', sizeof(long_text) - 1);
	static const struct {
		enum vmm_accel accel;
		const char *additions, *wanted;
	} cases[] = {
		{ VMM_ACCEL_TCG, "quiet",
		  "console=ttyS0 panic=-1 reboot=t no_timer_check tsc_early_khz=2600000 "
		  "tsc=reliable lpj=4000000 quiet" },
		{ VMM_ACCEL_KVM, NULL, "console=ttyS0 panic=-1 reboot=t" },
		{ VMM_ACCEL_KVM, "", "console=ttyS0 panic=-1 reboot=t" },
		{ VMM_ACCEL_KVM, "a\nb", NULL },
		{ VMM_ACCEL_KVM, long_text, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct vmm_probe p = probe_of(cases[i].accel);
		struct vmm_config c = full_config(VMM_MEMORY_PRIVATE);
		struct mvm_error err;
		AUTO_FREE char *line = NULL;
		int r = qemu_cmdline(&p, &c, cases[i].additions, &line, &err);
		assert_int_equal(r, cases[i].wanted ? 0 : -EINVAL);
		if (cases[i].wanted)
			assert_string_equal(line, cases[i].wanted);
	}
}

static void facts_describe_the_machine_but_not_the_host(void **state)
{
	(void)state;
	struct vmm_probe tcg = probe_of(VMM_ACCEL_TCG), kvm = probe_of(VMM_ACCEL_KVM);
	struct vmm_config a = full_config(VMM_MEMORY_CAPTURE), b = full_config(VMM_MEMORY_CLONE);
	AUTO_DONE(strv) fa = { 0 };
	AUTO_DONE(strv) fb = { 0 };
	AUTO_DONE(strv) fk = { 0 };
	struct mvm_error err;
	b.name = "other";
	b.n_forwards = 0;
	b.drives[1].name = "copy.ext4";
	b.cmdline = NULL;
	assert_int_equal(qemu_facts_for(&tcg, &a, NULL, &fa, &err), 0);
	assert_int_equal(qemu_facts_for(&tcg, &b, NULL, &fb, &err), 0);
	assert_int_equal(fa.n, 7);
	for (size_t i = 0; i < fa.n; i++)
		assert_string_equal(fa.v[i], fb.v[i]);
	assert_string_equal(fa.v[0], "version=7.2.22 (Debian 1:7.2)");
	assert_string_equal(fa.v[1], "accelerator=tcg");
	assert_string_equal(fa.v[2], "machine=microvm,pit=on,pic=on,rtc=on,acpi=on,"
				     "x-option-roms=off,auto-kernel-cmdline=off");
	assert_string_equal(fa.v[3], "cpu=" QEMU_CPU_TCG);
	assert_string_equal(fa.v[4], "tsc_khz=2600000");
	assert_true(str_starts(fa.v[5], "devices={\"driver\":\"virtio-blk-device\""));
	assert_non_null(strstr(fa.v[5], " drive0:ro drive1:rw"));
	assert_string_equal(fa.v[6], "network=link");

	b.network = false;
	assert_int_equal(qemu_facts_for(&kvm, &b, "GenuineIntel 6", &fk, &err), 0);
	assert_string_equal(fk.v[1], "accelerator=kvm");
	assert_string_equal(fk.v[3], "cpu=host, GenuineIntel 6");
	assert_string_not_equal(fk.v[5], fa.v[5]);
}

static void the_version_is_taken_from_qemus_own_line_only(void **state)
{
	(void)state;
	size_t len = 0;
	const char *v = qemu_version_of("QEMU emulator version 7.2.22 (Debian 1:7.2)\nCopyright",
					&len);
	assert_int_equal(len, strlen("7.2.22 (Debian 1:7.2)"));
	assert_memory_equal(v, "7.2.22 (Debian 1:7.2)", len);
	assert_null(qemu_version_of("QEMU emulator version \n", &len));
	assert_null(qemu_version_of("GNU bash, version 5", &len));
	assert_null(qemu_version_of("", &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_machine_to_capture_under_tcg),
		cmocka_unit_test(a_clone_under_kvm),
		cmocka_unit_test(a_plain_machine_has_neither_memory_file_nor_network),
		cmocka_unit_test(the_command_line_ends_in_the_templates_additions),
		cmocka_unit_test(facts_describe_the_machine_but_not_the_host),
		cmocka_unit_test(the_version_is_taken_from_qemus_own_line_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
