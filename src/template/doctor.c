/* SPDX-License-Identifier: Apache-2.0 */
#include "template/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <mvm/mvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/str.h"
#include "vmm/accel.h"
#include "vmm/name_servers.h"

#define PROC_FILE_MAX 65536u

void mvm_check_free(struct mvm_check *check)
{
	if (!check)
		return;
	free(check->text);
	free(check->mend);
	free(check->reason);
	free(check->subject);
	free(check);
}
DEFINE_LIST_FREE(mvm_check_list_free, mvm_check, mvm_check_free)

void doctor_done(struct doctor *d)
{
	mvm_check_list_free(d->v, d->n);
	mvm_close(d->mvm);
	*d = (struct doctor){ 0 };
}

void doctor_add(struct doctor *d, const char *name, enum mvm_check_level level, const char *mend,
		const char *fmt, ...)
{
	struct mvm_check *check = calloc(1, sizeof(*check));
	struct mvm_check **grown = realloc(d->v, (d->n + 1) * sizeof(*grown));
	va_list args;

	if (grown)
		d->v = grown;
	d->failed |= !check || !grown;
	if (!check || !grown) {
		free(check);
		return;
	}
	check->name = name;
	check->level = level;
	check->mend = str_dup(mend, &d->failed);
	va_start(args, fmt);
	if (vasprintf(&check->text, fmt, args) < 0) {
		check->text = NULL;
		d->failed = true;
	}
	va_end(args);
	d->v[d->n++] = check;
}

void doctor_reason(struct doctor *d, const char *reason, const char *subject)
{
	if (d->failed)
		return;
	struct mvm_check *last = d->v[d->n - 1];
	last->reason = str_dup(reason, &d->failed);
	last->subject = str_dup(subject, &d->failed);
}

void doctor_add_error(struct doctor *d, const char *name, enum mvm_check_level level,
		      const struct mvm_error *err)
{
	d->failed |= err->code == -ENOMEM;
	doctor_add(d, name, level, err->hint[0] ? err->hint : NULL, "%s", err->text);
	if (err->reason[0])
		doctor_reason(d, err->reason, err->subject);
}

/* Read a file of /proc as text; NULL when it cannot be read. */
static char *read_proc(const char *path)
{
	char *text = NULL;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || file_read_fd(fd, PROC_FILE_MAX, &text, NULL) < 0)
		return NULL;
	return text;
}

/* The texts of the flaws of CPUs that threads of one core may have, in one; NULL without memory. */
static char *read_vulnerabilities(struct doctor *d)
{
	static const char *const flaws[] = { "l1tf", "mds", "mmio_stale_data", "tsx_async_abort" };
	AUTO_DONE(strbuf) all = { 0 };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(flaws); i++) {
		char path[96];
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s",
			 flaws[i]);
		AUTO_FREE char *text = read_proc(path);
		strbuf_addf(&all, "%s", text ? text : "");
	}
	d->failed |= all.failed;
	return all.failed ? NULL : TAKE_PTR(all.data);
}

/* Does the kernel know cgroup2's favordynmods?  Since 6.0. */
static bool kernel_has_favordynmods(void)
{
	struct utsname name;
	return uname(&name) == 0 && strtoul(name.release, NULL, 10) >= 6;
}

static void look_at_tuning(struct doctor *d, const char *meminfo, const char *swaps)
{
	AUTO_FREE char *mountinfo = read_proc("/proc/self/mountinfo");
	AUTO_FREE char *nx_huge_pages = read_proc("/sys/module/kvm/parameters/nx_huge_pages");
	AUTO_FREE char *multihit = read_proc(
		"/sys/devices/system/cpu/vulnerabilities/itlb_multihit");
	AUTO_FREE char *vulnerabilities = read_vulnerabilities(d);
	AUTO_FREE char *ksm = read_proc("/sys/kernel/mm/ksm/run");
	const struct doctor_tuning t = {
		.mountinfo = mountinfo,
		.meminfo = meminfo,
		.swaps = swaps,
		.nx_huge_pages = nx_huge_pages,
		.itlb_multihit = multihit,
		.vulnerabilities = vulnerabilities,
		.ksm = ksm,
		.has_favordynmods = kernel_has_favordynmods(),
	};
	doctor_tuning(d, &t);
}

static void look_at_limits(struct doctor *d)
{
	struct rlimit files, processes;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && getrlimit(RLIMIT_NPROC, &processes) == 0)
		doctor_limits(d, files.rlim_max,
			      geteuid() == 0 ? RLIM_INFINITY : processes.rlim_cur);
}

static void look_at_host(struct doctor *d)
{
	AUTO_FREE char *cpuinfo = NULL;
	AUTO_FREE char *meminfo = read_proc("/proc/meminfo");
	AUTO_FREE char *overcommit = read_proc("/proc/sys/vm/overcommit_memory");
	AUTO_FREE char *swaps = read_proc("/proc/swaps");
	struct hostload host;

	if (cpuinfo_read(&cpuinfo) < 0)
		cpuinfo = NULL;
	doctor_kvm(d, "/dev/kvm", cpuinfo, getenv("MVM_ACCEL"));
	/* without KVM this is no host for many VMs, and the settings matter little */
	bool has_kvm = !d->failed && d->v[d->n - 1]->level == MVM_CHECK_OK;
	doctor_backends(d);
	doctor_helpers(d);
	doctor_nix(d);
	doctor_memory(d, meminfo, overcommit, swaps);
	hostload_read(&host);
	doctor_pressure(d, &host);
	doctor_cgroup(d);
	if (has_kvm)
		look_at_tuning(d, meminfo, swaps);
	look_at_limits(d);
	AUTO_FREE char *resolv_conf = name_servers_text();
	doctor_name_servers(d, resolv_conf ? resolv_conf : "");
}

int mvm_doctor(const char *data_dir, const struct mvm_progress *progress, struct mvm_check ***ret,
	       size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(doctor) d = { 0 };
	struct progress_watch watch;
	enum mvm_check_level worst = MVM_CHECK_OK;

	int r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	d.progress = progress;
	doctor_data(&d, data_dir);
	if (d.mvm) {
		doctor_links(&d);
		doctor_kernels(&d);
	}
	look_at_host(&d);
	if (d.mvm) {
		doctor_network(&d);
		doctor_isolation(&d);
		doctor_snapshots(&d);
	}
	if (progress_check(progress, NULL) < 0)
		return mvm_error_cancelled(err, "the check");
	if (d.failed)
		return mvm_error_oom(err);
	for (size_t i = 0; i < d.n; i++)
		worst = d.v[i]->level > worst ? d.v[i]->level : worst;
	*ret = TAKE_PTR(d.v);
	*ret_n = d.n;
	d.n = 0;
	return (int)worst;
}
