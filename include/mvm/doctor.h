/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_DOCTOR_H
#define MVM_DOCTOR_H

/* Checks of this host: what mvm needs, what is missing or slow, and how to mend it. */

#include <mvm/error.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>

enum mvm_check_level {
	MVM_CHECK_OK,
	MVM_CHECK_WARN, /* something is missing or slow; the rest works */
	MVM_CHECK_FAIL, /* no VM can be built or run like this */
};

struct mvm_check {
	const char *name; /* "kvm", "qemu", "data"; static */
	enum mvm_check_level level;
	char *text;    /* one sentence */
	char *mend;    /* a command, or a document to read; NULL when nothing needs mending */
	char *reason;  /* in place of `mend`: the reason of an error (mvm/error.h); NULL: none */
	char *subject; /* the name that the reason is about; NULL: none */
};
MVM_API void mvm_check_free(struct mvm_check *check);

/*
 * Run all checks.
 *
 *   data_dir  as for mvm_open(); created if it is missing.  A folder that cannot be opened is a
 *             finding, not an error
 *   progress  may stop it, also while a program does not answer; may be NULL
 *   ret       in a fixed order; mvm_check_list_free() the list
 *
 * Starts each backend's program once to ask for its version, and waits half a minute at most for
 * one that does not answer.  Writes two small files into the data folder to test its file system,
 * and removes them.
 * Returns the worst level found, or a negative errno (-ECANCELED).
 */
MVM_API int mvm_doctor(const char *data_dir, const struct mvm_progress *progress,
		       struct mvm_check ***ret, size_t *ret_n, struct mvm_error *err);
MVM_API void mvm_check_list_free(struct mvm_check **list, size_t n);

/*
 * How much this host's processes wait for CPU, memory and I/O.  From the kernel's pressure stall
 * information: the share, in per cent, of the last ten seconds in which at least one process waited
 * ("some avg10").
 */
#define MVM_HOST_PRESSURE_TEXT_SIZE 128
struct mvm_host_pressure {
	size_t size; /* MVM_HOST_PRESSURE_INIT sets it (mvm/struct.h) */
	bool known;  /* false: the kernel has no such numbers; cpu, memory and io are 0 */
	double cpu, memory, io;
	double load_per_cpu; /* running and waiting processes for each CPU, over the last minute */
	char text[MVM_HOST_PRESSURE_TEXT_SIZE]; /* the numbers in a sentence */
};
#define MVM_HOST_PRESSURE_INIT MVM_STRUCT_INIT(struct mvm_host_pressure)

/* Read the numbers from /proc.  It cannot fail: what cannot be read is 0. */
MVM_API void mvm_host_pressure(struct mvm_host_pressure *ret);

#endif
