/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of a host that runs many VMs (doc/production.md). */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "instance/confine.h"
#include "template/doctor.h"
#include "vmm/mend.h"

#define TASKS_PER_VM   16u /* two supervisors, QEMU with its threads, mvm-net */
#define FEW_VMS	       64u
#define FILES_MIN      4096u
#define REMARKABLE_KIB (256u << 10)

/* cgroup2's line of mountinfo; NULL: there is none, or it is mounted read-only, as in a
 * container. */
static char *cgroup2_mount(const char *mountinfo, bool *failed)
{
	static const char type[] = " - cgroup2 ";
	const char *end = mountinfo ? strstr(mountinfo, type) : NULL, *start = end;
	if (!end)
		return NULL;
	while (start > mountinfo && start[-1] != '\n')
		start--;
	char *line = strndup(start, strcspn(start, "\n"));
	char *options = line; /* the sixth word */
	for (int i = 0; options && i < 5; i++) {
		options = strchr(options, ' ');
		options += options != NULL;
	}
	*failed |= !line;
	if (options && strncmp(options, "rw", 2) == 0)
		return line;
	free(line);
	return NULL;
}

static void check_cgroup_moves(struct doctor *d, const struct doctor_tuning *t)
{
	AUTO_FREE char *mount = cgroup2_mount(t->mountinfo, &d->failed);
	if (mount && !strstr(mount, "favordynmods") && t->has_favordynmods)
		doctor_add(d, "cgroup-moves", MVM_CHECK_WARN,
			   mend_as_root("sudo mount -o remount,favordynmods " CONFINE_MOUNT),
			   "cgroup v2 is mounted without favordynmods, so each start waits some "
			   "milliseconds for its cgroup");
	else
		doctor_add(d, "cgroup-moves", MVM_CHECK_OK, NULL, "%s",
			   mount ? "moving a VM into its cgroup does not wait"
				 : "no cgroup v2 that this host could mount otherwise");
}

static void check_nx_huge_pages(struct doctor *d, const struct doctor_tuning *t)
{
	bool on = t->nx_huge_pages && (t->nx_huge_pages[0] == 'Y' || t->nx_huge_pages[0] == '1');
	bool safe = t->itlb_multihit && strstr(t->itlb_multihit, "Not affected");
	if (on && safe)
		doctor_add(d, "nx-huge-pages", MVM_CHECK_WARN,
			   mend_as_root("sudo sh -c 'f=/sys/module/kvm/parameters/nx_huge_pages; "
					"echo never > $f || echo off > $f'"),
			   "KVM splits huge pages, which slows each VM's start, for a flaw that "
			   "this CPU does not have");
	else
		doctor_add(d, "nx-huge-pages", MVM_CHECK_OK, NULL, "%s",
			   on ? "KVM splits huge pages, which protects this CPU from its guests"
			      : "KVM does not split huge pages");
}

static void check_sharing(struct doctor *d, const struct doctor_tuning *t)
{
	if (t->ksm && t->ksm[0] == '1')
		doctor_add(
			d, "ksm", MVM_CHECK_WARN,
			mend_as_root("sudo sh -c 'echo 2 > /sys/kernel/mm/ksm/run'"),
			"the kernel merges equal pages of different VMs, so a guest can find out "
			"what others have in memory");
	else
		doctor_add(d, "ksm", MVM_CHECK_OK, NULL, "pages of different VMs are not merged");
	if (t->vulnerabilities && strstr(t->vulnerabilities, "SMT vulnerable"))
		doctor_add(
			d, "smt", MVM_CHECK_WARN,
			mend_as_root("sudo sh -c 'echo off > /sys/devices/system/cpu/smt/control'"),
			"VMs on two threads of one core can read each other's data on this CPU");
	else
		doctor_add(d, "smt", MVM_CHECK_OK, NULL,
			   "the kernel knows of no leak between two threads of a core");
}

/* The first swap that is not compressed memory: its line of /proc/swaps, or NULL. */
static const char *swap_on_disk(const char *swaps)
{
	const char *line = swaps ? strchr(swaps, '\n') : NULL;
	for (; line && line[1]; line = strchr(line + 1, '\n')) {
		if (strncmp(line + 1, "/dev/zram", strlen("/dev/zram")) != 0)
			return line + 1;
	}
	return NULL;
}

static void check_memory(struct doctor *d, const struct doctor_tuning *t)
{
	unsigned long long pages = 0, kib = 0;
	const char *swap = swap_on_disk(t->swaps);
	char size[24];

	if (doctor_read_kib(t->meminfo, "HugePages_Free:", &pages) &&
	    doctor_read_kib(t->meminfo, "Hugepagesize:", &kib) && pages > 0 &&
	    pages >= REMARKABLE_KIB / (kib ? kib : 1)) {
		str_bytes((uint64_t)pages * kib << 10, size, sizeof(size));
		doctor_add(d, "hugepages", MVM_CHECK_WARN,
			   mend_as_root("sudo sysctl vm.nr_hugepages=0"),
			   "%s are set aside as huge pages, which no VM uses", size);
	} else {
		doctor_add(d, "hugepages", MVM_CHECK_OK, NULL,
			   "no memory is set aside as huge pages");
	}
	if (swap)
		doctor_add(d, "swap", MVM_CHECK_WARN, mend_as_root("sudo swapoff -a"),
			   "the memory of guests may be written to '%.*s', with their secrets, and "
			   "reading it back is slow",
			   (int)strcspn(swap, " \t\n"), swap);
	else
		doctor_add(d, "swap", MVM_CHECK_OK, NULL, "no memory is written to a disk");
}

void doctor_tuning(struct doctor *d, const struct doctor_tuning *t)
{
	check_cgroup_moves(d, t);
	check_nx_huge_pages(d, t);
	check_sharing(d, t);
	check_memory(d, t);
}

void doctor_limits(struct doctor *d, uint64_t files, uint64_t processes)
{
	const uint64_t vms = processes / TASKS_PER_VM;
	if (files < FILES_MIN)
		doctor_add(d, "limits", MVM_CHECK_WARN,
			   "set LimitNOFILE= of the unit, or nofile in /etc/security/limits.conf",
			   "a process may open only %llu files: a VM can have few streams, and a "
			   "pool few VMs",
			   (unsigned long long)files);
	else if (vms < FEW_VMS)
		doctor_add(d, "limits", MVM_CHECK_WARN,
			   "set LimitNPROC= of the unit, or nproc in /etc/security/limits.conf",
			   "this user may have %llu processes and threads: some %llu VMs",
			   (unsigned long long)processes, (unsigned long long)vms);
	else
		doctor_add(d, "limits", MVM_CHECK_OK, NULL,
			   "files and processes are limited to no small number");
}
