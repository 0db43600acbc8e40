/* SPDX-License-Identifier: Apache-2.0 */
/* Probes of accelerator, CPU and QEMU, and their cache, which must not outlive the facts. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "tick.h"
#include "vmm/accel.h"
#include "vmm/vmm.h"

static const char cpuinfo[] = "processor\t: 0\n"
			      "vendor_id\t: GenuineIntel\n"
			      "cpu family\t: 6\n"
			      "model\t\t: 106\n"
			      "model name\t: Intel(R) Xeon(R)\n"
			      "stepping\t: 6\n"
			      "microcode\t: 0x1\n"
			      "flags\t\t: fpu vmx_not svm2 vmx\n";

static void flags_are_matched_as_whole_words(void **state)
{
	(void)state;
	assert_true(cpuinfo_has_flag(cpuinfo, "vmx"));
	assert_true(cpuinfo_has_flag(cpuinfo, "fpu"));
	assert_false(cpuinfo_has_flag(cpuinfo, "svm"));
	assert_false(cpuinfo_has_flag(cpuinfo, "vmx_"));
	assert_false(cpuinfo_has_flag("", "vmx"));
}

static void a_fingerprint_changes_with_everything_that_guests_see(void **state)
{
	(void)state;
	AUTO_FREE char *a = NULL, *b = NULL, *none = NULL;
	assert_int_equal(cpuinfo_fingerprint(cpuinfo, &a), 0);
	assert_true(str_starts(a, "GenuineIntel 6-106-6 microcode 0x1 flags "));
	AUTO_FREE char *other = str_printf("%s", cpuinfo);
	memcpy(strstr(other, "fpu"), "fpX", 3);
	assert_int_equal(cpuinfo_fingerprint(other, &b), 0);
	assert_string_not_equal(a, b);
	assert_int_equal(cpuinfo_fingerprint("", &none), 0);
	assert_true(str_starts(none, "? ?-?-? microcode ? flags "));
}

static void the_user_may_choose_the_accelerator(void **state)
{
	(void)state;
	const char *reason = NULL;
	assert_int_equal(setenv("MVM_ACCEL", "kvm", 1), 0);
	assert_int_equal(vmm_accel_choose(&reason), VMM_ACCEL_KVM);
	assert_string_equal(reason, "MVM_ACCEL says so");
	assert_int_equal(setenv("MVM_ACCEL", "tcg", 1), 0);
	assert_int_equal(vmm_accel_choose(&reason), VMM_ACCEL_TCG);
}

static void the_tsc_is_measured_alike_twice(void **state)
{
	(void)state;
	uint32_t a = 0, b = 0;
	if (tsc_khz_find(&a) < 0)
		skip();
	assert_int_equal(tsc_khz_find(&b), 0);
	assert_true(a > 500000 && a < 10000000);
	uint32_t by = a > b ? a - b : b - a;
	assert_true(by <= a / 100); /* small errors are normal on a busy machine */
}

/* A folder with a program in QEMU's place, and a cache. */
struct fixture {
	char folder[64];
	int dir_fd;
	char *program;
};

static void install(struct fixture *f, const char *says)
{
	/* it counts its runs */
	AUTO_FREE char *text = str_printf("#!/bin/sh\necho x >> %s/asked\necho '%s'\n", f->folder,
					  says);
	unlinkat(f->dir_fd, "qemu", 0); /* missing the first time */
	assert_int_equal(file_create_at(f->dir_fd, "qemu", text, strlen(text), 0755), 0);
}

static size_t times_asked(struct fixture *f)
{
	struct stat st;
	return fstatat(f->dir_fd, "asked", &st, 0) < 0 ? 0 : (size_t)st.st_size / 2;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	snprintf(f->folder, sizeof(f->folder), "/tmp/mvm-probe.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->dir_fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->dir_fd >= 0);
	f->program = str_printf("%s/qemu", f->folder);
	assert_int_equal(setenv("MVM_QEMU", f->program, 1), 0);
	assert_int_equal(setenv("MVM_ACCEL", "tcg", 1), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	close(f->dir_fd);
	int r = tree_remove_at(AT_FDCWD, f->folder);
	free(f->program);
	free(f);
	return r;
}

static void probe(struct fixture *f, const char *version, uint32_t *tsc_khz)
{
	const struct vmm_ops *ops = NULL;
	struct mvm_error err;
	AUTO_DONE(vmm_probe) p = { 0 };
	assert_int_equal(vmm_backend_find("qemu", &ops, &err), 0);
	assert_int_equal(vmm_backend_probe(ops, f->dir_fd, NULL, &p, &err), 0);
	assert_true(p.usable);
	assert_string_equal(p.version, version);
	assert_string_equal(p.binary, f->program);
	assert_string_equal(p.accel_reason, "MVM_ACCEL says so");
	*tsc_khz = p.tsc_khz;
}

static void a_probe_is_kept_until_the_program_changes(void **state)
{
	struct fixture *f = *state;
	uint32_t a, b;
	install(f, "QEMU emulator version 1.0");
	probe(f, "1.0", &a);
	probe(f, "1.0", &b);
	assert_int_equal(a, b);
	assert_int_equal(times_asked(f), 1);
	wait_for_tick(f->dir_fd); /* the new program may get the first one's inode number */
	install(f, "QEMU emulator version 2.0");
	probe(f, "2.0", &a);
	assert_int_equal(times_asked(f), 2);
	assert_int_equal(setenv("MVM_ACCEL", "kvm", 1), 0);
	probe(f, "2.0", &a);
	assert_int_equal(times_asked(f), 3);
}

static void a_damaged_cache_is_ignored_and_rewritten(void **state)
{
	struct fixture *f = *state;
	static const char *const damages[] = {
		"",
		"{",
		"[]",
		"{\"version\": 1}",
		"{\"key\": {}, \"version\": \"9\", \"tsc_khz\": 1}",
	};
	uint32_t khz;
	install(f, "QEMU emulator version 1.0");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(damages); i++) {
		unlinkat(f->dir_fd, "qemu.json", 0); /* missing the first time */
		assert_int_equal(file_create_at(f->dir_fd, "qemu.json", damages[i],
						strlen(damages[i]), 0600),
				 0);
		probe(f, "1.0", &khz);
		assert_int_equal(times_asked(f), i + 1);
		probe(f, "1.0", &khz);
		assert_int_equal(times_asked(f), i + 1);
	}
}

static void a_program_that_is_no_qemu_gives_a_reason(void **state)
{
	struct fixture *f = *state;
	const struct vmm_ops *ops = NULL;
	struct mvm_error err;
	assert_int_equal(vmm_backend_find("qemu", &ops, &err), 0);
	AUTO_DONE(vmm_probe) missing = { 0 };
	assert_int_equal(vmm_backend_probe(ops, f->dir_fd, NULL, &missing, &err), 0);
	assert_false(missing.usable);
	assert_true(str_starts(missing.reason, "MVM_QEMU names '"));

	install(f, "GNU bash");
	AUTO_DONE(vmm_probe) wrong = { 0 };
	assert_int_equal(vmm_backend_probe(ops, f->dir_fd, NULL, &wrong, &err), 0);
	assert_false(wrong.usable);
	assert_non_null(strstr(wrong.reason, "--version says 'GNU bash'"));
	assert_int_equal(faccessat(f->dir_fd, "qemu.json", F_OK, 0), -1);
}

static void the_error_for_an_unknown_backend_lists_the_known_ones(void **state)
{
	(void)state;
	const struct vmm_ops *ops = NULL;
	struct mvm_error err;
	assert_int_equal(vmm_backend_find("qemo", &ops, &err), -EINVAL);
	assert_string_equal(err.text, "no backend is named 'qemo'; there is 'firecracker', 'qemu'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_are_matched_as_whole_words),
		cmocka_unit_test(a_fingerprint_changes_with_everything_that_guests_see),
		cmocka_unit_test(the_user_may_choose_the_accelerator),
		cmocka_unit_test(the_tsc_is_measured_alike_twice),
		cmocka_unit_test_setup_teardown(a_probe_is_kept_until_the_program_changes, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_cache_is_ignored_and_rewritten, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_program_that_is_no_qemu_gives_a_reason, set_up,
						tear_down),
		cmocka_unit_test(the_error_for_an_unknown_backend_lists_the_known_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
