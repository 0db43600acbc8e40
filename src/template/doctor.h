/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_DOCTOR_H
#define TEMPLATE_DOCTOR_H

/*
 * Checks of `mvm doctor`: each looks at one thing and adds one finding.
 *
 * doctor.c runs them, doctor_host.c checks the host, doctor_data.c the data folder and its
 * contents.  A check that depends on a file of the host gets the file's path or text, so that tests
 * can pass another.
 */

#include <mvm/doctor.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hostload.h"
#include "base/own.h"
#include "vmm/vmm.h"

struct mvm;

struct doctor {
	struct mvm *mvm;		     /* NULL: the data folder cannot be opened */
	const struct mvm_progress *progress; /* may be NULL */
	struct mvm_check **v;
	size_t n;
	bool failed; /* memory ran out */
};
void doctor_done(struct doctor *d);
DEFINE_AUTO_DONE(doctor, doctor_done)

/* Add a finding.  mend is copied; it may be NULL.  Without memory, d->failed is set. */
void doctor_add(struct doctor *d, const char *name, enum mvm_check_level level, const char *mend,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Give the last finding a reason in place of a mend.  The caller of the library knows what to do
 * about it (doc/reasons.md).  subject may be NULL. */
void doctor_reason(struct doctor *d, const char *reason, const char *subject);

/* Add a finding from an error, with its reason and hint. */
void doctor_add_error(struct doctor *d, const char *name, enum mvm_check_level level,
		      const struct mvm_error *err);

/* ---- doctor_host.c ---- */

/*
 * Can guests use KVM, and if not, why?
 *
 *   device   "/dev/kvm"
 *   cpuinfo  as cpuinfo_read() gives it; NULL: it could not be read
 *   wish     MVM_ACCEL; may be NULL
 */
void doctor_kvm(struct doctor *d, const char *device, const char *cpuinfo, const char *wish);

/* One finding for each backend, and a failure when every backend is unusable. */
void doctor_backends(struct doctor *d);

/* Can every usable backend give VMs a network? */
void doctor_network(struct doctor *d);

/* What confines this user's VMMs if a guest breaks into one?  A check for each usable backend. */
void doctor_isolation(struct doctor *d);

/* Can guests ask the name servers of this resolv.conf(5)? */
void doctor_name_servers(struct doctor *d, const char *resolv_conf);

void doctor_helpers(struct doctor *d);
void doctor_nix(struct doctor *d);
void doctor_cgroup(struct doctor *d);

/*
 * Memory for guests.
 *
 *   meminfo, swaps  the text of the files in /proc; NULL: the file could not be read
 *   overcommit      the text of /proc/sys/vm/overcommit_memory, or NULL
 */
void doctor_memory(struct doctor *d, const char *meminfo, const char *overcommit,
		   const char *swaps);

/* How much do the host's processes wait for CPU, memory and disk? */
void doctor_pressure(struct doctor *d, const struct hostload *host);

/* "MemAvailable:   123 kB": the number of this key, which ends with a colon. */
bool doctor_read_kib(const char *meminfo, const char *key, unsigned long long *ret);

/* ---- doctor_tuning.c ---- */

/* Texts of files of the host; NULL: the file is missing. */
struct doctor_tuning {
	const char *mountinfo, *meminfo, *swaps;
	const char *nx_huge_pages;   /* KVM's parameter */
	const char *itlb_multihit;   /* what the kernel says of this flaw of CPUs */
	const char *vulnerabilities; /* of all such files */
	const char *ksm;	     /* is it running? */
	bool has_favordynmods;	     /* the kernel knows this option of cgroup v2 */
};

/* Settings that matter to a host with many VMs.  Each without its file is well. */
void doctor_tuning(struct doctor *d, const struct doctor_tuning *t);

/* files: RLIMIT_NOFILE's hard limit; processes: RLIMIT_NPROC's soft one. */
void doctor_limits(struct doctor *d, uint64_t files, uint64_t processes);

/* ---- doctor_data.c ---- */

/* The data folder.  A failure to open it is a finding; only -ENOMEM sets d->failed. */
void doctor_data(struct doctor *d, const char *data_dir);
void doctor_links(struct doctor *d);
void doctor_kernels(struct doctor *d);
void doctor_snapshots(struct doctor *d);

#endif
