/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "template/doctor.h"
#include "vmm/mend.h"

/* Check the only finding.  mend: part of the remedy, or the reason in its place; NULL: neither. */
static void assert_says(const struct doctor *d, enum mvm_check_level level, const char *text,
			const char *mend)
{
	const char *said = d->v[0]->mend ? d->v[0]->mend : d->v[0]->reason;
	assert_false(d->failed);
	assert_int_equal(d->n, 1);
	assert_int_equal(d->v[0]->level, level);
	assert_non_null(strstr(d->v[0]->text, text));
	if (mend)
		assert_non_null(strstr(said ? said : "", mend));
	else
		assert_null(said);
}

static void kvm_that_cannot_be_used_has_a_cause_and_a_cure(void **state)
{
	(void)state;
	static const struct {
		const char *device, *cpuinfo, *wish;
		enum mvm_check_level level;
		const char *text, *mend;
	} cases[] = {
		{ "/dev/null", "flags : vmx\n", NULL, MVM_CHECK_OK, "KVM is usable", NULL },
		{ "/dev/null", "flags : svm\n", "kvm", MVM_CHECK_OK, "KVM is usable", NULL },
		{ "/dev/null", "flags : vmx\n", "tcg", MVM_CHECK_WARN, "MVM_ACCEL", "unset" },
		{ "/dev/null", "flags : sse\n", NULL, MVM_CHECK_WARN, "neither", "nested" },
		{ "/dev/null", NULL, NULL, MVM_CHECK_WARN, "neither", "nested" },
		{ "/dev/null", "flags : sse\n", "kvm", MVM_CHECK_WARN, "nevertheless", "unset" },
		{ "/nowhere/kvm", "flags : vmx\n", "kvm", MVM_CHECK_WARN, "no guest can start",
		  "unset" },
		{ "/nowhere/kvm", "flags : vmx\n", NULL, MVM_CHECK_WARN, "there is no",
		  "modprobe kvm_intel" },
		{ "/nowhere/kvm", "flags : svm\n", NULL, MVM_CHECK_WARN, "there is no",
		  "modprobe kvm_amd" },
		{ "/nowhere/kvm", "flags : sse\n", NULL, MVM_CHECK_WARN, "there is no",
		  "firmware" },
		{ "/", "flags : vmx\n", NULL, MVM_CHECK_WARN, "cannot be opened", "dmesg" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(doctor) d = { 0 };
		doctor_kvm(&d, cases[i].device, cases[i].cpuinfo, cases[i].wish);
		assert_says(&d, cases[i].level, cases[i].text, cases[i].mend);
	}
}

static void doctor_reports_memory_that_is_short_or_not_lent(void **state)
{
	(void)state;
	static const struct {
		const char *meminfo, *overcommit, *swaps;
		enum mvm_check_level level;
		const char *text, *mend;
	} cases[] = {
		{ "MemTotal: 9 kB\nMemAvailable:    8388608 kB\n", "0\n", "Filename\n",
		  MVM_CHECK_OK, "8 GiB available", NULL },
		{ "MemAvailable: 8388608 kB\n", "1\n", "Filename\n/dev/x\n", MVM_CHECK_OK,
		  "with swap", NULL },
		{ "MemAvailable: 8388608 kB\n", "2\n", NULL, MVM_CHECK_WARN, "overcommitting",
		  "vm.overcommit_memory=0" },
		{ "MemAvailable: 1024 kB\n", NULL, NULL, MVM_CHECK_WARN, "only 1 MiB",
		  "host-memory-full" },
		{ "MemAvailable: many\n", NULL, NULL, MVM_CHECK_WARN, "does not say", "proc" },
		{ NULL, NULL, NULL, MVM_CHECK_WARN, "does not say", "proc" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(doctor) d = { 0 };
		doctor_memory(&d, cases[i].meminfo, cases[i].overcommit, cases[i].swaps);
		assert_says(&d, cases[i].level, cases[i].text, cases[i].mend);
	}
}

static void only_a_faulty_backend_has_a_remedy(void **state)
{
	(void)state;
	const struct vmm_ops *qemu, *firecracker;
	char binary[] = "/usr/bin/x";
	assert_int_equal(vmm_backend_find("qemu", &qemu, NULL), 0);
	assert_int_equal(vmm_backend_find("firecracker", &firecracker, NULL), 0);
	const struct {
		const struct vmm_ops *ops;
		struct vmm_probe probe;
		const char *mend; /* "kvm": KVM would mend it, and no command */
	} cases[] = {
		{ qemu, { .usable = true, .binary = binary, .accel = VMM_ACCEL_KVM }, NULL },
		{ qemu, { .usable = true, .binary = binary, .accel = VMM_ACCEL_TCG }, "kvm" },
		{ qemu, { .accel = VMM_ACCEL_KVM }, "qemu-system-x86" },
		{ qemu, { .accel = VMM_ACCEL_TCG }, "qemu-system-x86" },
		{ firecracker, { .usable = true, .binary = binary, .accel = VMM_ACCEL_KVM }, NULL },
		{ firecracker, { .binary = binary, .accel = VMM_ACCEL_TCG }, "kvm" },
		{ firecracker, { .binary = binary, .accel = VMM_ACCEL_KVM }, "MVM_FIRECRACKER" },
		{ firecracker, { .accel = VMM_ACCEL_KVM }, "MVM_FIRECRACKER" },
		{ firecracker, { .accel = VMM_ACCEL_TCG }, "kvm" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		const char *mend = mend_backend(cases[i].ops, &cases[i].probe);
		bool kvm = str_eq(cases[i].mend, "kvm");
		assert_int_equal(mend_is_kvm(cases[i].ops, &cases[i].probe), kvm);
		if (cases[i].mend && !kvm)
			assert_non_null(strstr(mend ? mend : "", cases[i].mend));
		else
			assert_null(mend);
	}
}

static void doctor_reports_a_busy_host(void **state)
{
	(void)state;
	static const struct {
		struct hostload host;
		enum mvm_check_level level;
		const char *text, *mend;
	} cases[] = {
		{ { .has_pressure = true, .cpu = 3 }, MVM_CHECK_OK, "for a CPU 3 %", NULL },
		{ { .has_pressure = true, .cpu = 97 },
		  MVM_CHECK_WARN,
		  "for a CPU 97 %",
		  "host-busy" },
		{ { .has_pressure = true, .memory = 12 },
		  MVM_CHECK_WARN,
		  "for memory 12 %",
		  "host-busy" },
		{ { .load_per_cpu = 0.5 }, MVM_CHECK_OK, "0.5 processes run or wait", NULL },
		{ { .load_per_cpu = 3 }, MVM_CHECK_WARN, "3.0 processes run or wait", "host-busy" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(doctor) d = { 0 };
		doctor_pressure(&d, &cases[i].host);
		assert_says(&d, cases[i].level, cases[i].text, cases[i].mend);
	}
}

static void odd_name_servers_are_told(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum mvm_check_level level;
		const char *says, *mend;
	} cases[] = {
		{ "nameserver 192.0.2.1\n", MVM_CHECK_OK, "/etc/resolv.conf", NULL },
		{ "nameserver 127.1\nnameserver fe80::1%1\n", MVM_CHECK_OK, "questions", NULL },
		{ "nameserver 192.0.2.1\nnameserver foo\n", MVM_CHECK_WARN, "'foo'", "nameserver" },
		{ "nameserver fe80::1%no-such\n", MVM_CHECK_WARN, "'fe80::1%no-such'",
		  "nameserver" },
		{ "", MVM_CHECK_WARN, "names no server", "nameserver" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(doctor) d = { 0 };
		doctor_name_servers(&d, cases[i].text);
		assert_says(&d, cases[i].level, cases[i].says, cases[i].mend);
	}
}

#define CGROUP2 "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 "

static const struct mvm_check *named(const struct doctor *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++) {
		if (str_eq(d->v[i]->name, name))
			return d->v[i];
	}
	fail_msg("no check '%s'", name);
	return NULL;
}

static void settings_of_a_busy_host_are_judged(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		struct doctor_tuning host;
		const char *mend; /* NULL: well */
	} cases[] = {
		{ "cgroup-moves",
		  { .mountinfo = CGROUP2 "rw,nsdelegate\n", .has_favordynmods = true },
		  "remount,favordynmods" },
		{ "cgroup-moves",
		  { .mountinfo = "1 2 0:1 / / rw - ext4 a ro,b\n" CGROUP2 "rw\n3 4",
		    .has_favordynmods = true },
		  "remount,favordynmods" },
		{ "cgroup-moves",
		  { .mountinfo = CGROUP2 "rw,favordynmods\n", .has_favordynmods = true },
		  NULL },
		{ "cgroup-moves", { .mountinfo = CGROUP2 "rw\n" }, NULL },
		/* a container's */
		{ "cgroup-moves",
		  { .mountinfo = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 c rw\n",
		    .has_favordynmods = true },
		  NULL },
		{ "cgroup-moves",
		  { .mountinfo = "1 2 0:1 / / rw - ext4 a b\n", .has_favordynmods = true },
		  NULL },
		{ "nx-huge-pages",
		  { .nx_huge_pages = "Y\n", .itlb_multihit = "Not affected\n" },
		  "echo never" },
		{ "nx-huge-pages",
		  { .nx_huge_pages = "Y\n",
		    .itlb_multihit = "KVM: Mitigation: Split huge pages\n" },
		  NULL },
		{ "nx-huge-pages", { .nx_huge_pages = "Y\n" }, NULL },
		{ "nx-huge-pages",
		  { .nx_huge_pages = "N\n", .itlb_multihit = "Not affected\n" },
		  NULL },
		{ "ksm", { .ksm = "1\n" }, "ksm/run" },
		{ "ksm", { .ksm = "0\n" }, NULL },
		{ "smt",
		  { .vulnerabilities = "Mitigation: Clear CPU buffers; SMT vulnerable\n" },
		  "smt/control" },
		{ "smt",
		  { .vulnerabilities = "Mitigation: Clear CPU buffers; SMT disabled\n" },
		  NULL },
		{ "hugepages",
		  { .meminfo = "HugePages_Free:     512\nHugepagesize:       2048 kB\n" },
		  "vm.nr_hugepages=0" },
		{ "hugepages",
		  { .meminfo = "HugePages_Free:       8\nHugepagesize:       2048 kB\n" },
		  NULL },
		{ "hugepages",
		  { .meminfo = "HugePages_Free:       0\nHugepagesize:          0 kB\n" },
		  NULL },
		{ "swap", { .swaps = "Filename\tType\n/dev/zram0 p\n/dev/sda2\tp\n" }, "swapoff" },
		{ "swap", { .swaps = "Filename\tType\n/dev/zram0 p\n" }, NULL },
		{ "swap", { .swaps = "Filename\tType\n" }, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(doctor) d = { 0 };
		doctor_tuning(&d, &cases[i].host);
		const struct mvm_check *check = named(&d, cases[i].name);
		assert_int_equal(check->level, cases[i].mend ? MVM_CHECK_WARN : MVM_CHECK_OK);
		if (cases[i].mend)
			assert_non_null(strstr(check->mend, cases[i].mend));
		else
			assert_null(check->mend);
	}
}

static void a_host_without_those_files_is_well(void **state)
{
	(void)state;
	static const struct doctor_tuning nothing = { .has_favordynmods = true };
	AUTO_DONE(doctor) d = { 0 };
	doctor_tuning(&d, &nothing);
	assert_int_equal(d.n, 6);
	for (size_t i = 0; i < d.n; i++)
		assert_int_equal(d.v[i]->level, MVM_CHECK_OK);
}

static void small_limits_are_told(void **state)
{
	(void)state;
	static const struct {
		uint64_t files, processes;
		const char *says, *mend;
	} cases[] = {
		{ 1 << 20, UINT64_MAX, "no small number", NULL },
		{ 1024, UINT64_MAX, "only 1024 files", "LimitNOFILE" },
		{ 1 << 20, 320, "some 20 VMs", "nproc" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(doctor) d = { 0 };
		doctor_limits(&d, cases[i].files, cases[i].processes);
		assert_says(&d, cases[i].mend ? MVM_CHECK_WARN : MVM_CHECK_OK, cases[i].says,
			    cases[i].mend);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(doctor_reports_a_busy_host),
		cmocka_unit_test(odd_name_servers_are_told),
		cmocka_unit_test(kvm_that_cannot_be_used_has_a_cause_and_a_cure),
		cmocka_unit_test(doctor_reports_memory_that_is_short_or_not_lent),
		cmocka_unit_test(settings_of_a_busy_host_are_judged),
		cmocka_unit_test(a_host_without_those_files_is_well),
		cmocka_unit_test(small_limits_are_told),
		cmocka_unit_test(only_a_faulty_backend_has_a_remedy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
