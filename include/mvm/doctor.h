/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_DOCTOR_H
#define MVM_DOCTOR_H

/* What is there, missing or slow on this host, and what mends it. */

#include <mvm/error.h>
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
	char *text;   /* one sentence */
	char *mend;   /* a command, or where to read on; NULL when nothing needs mending */
	char *reason; /* in place of `mend`: an error's (mvm/error.h); NULL: none */
};
MVM_API void mvm_check_free(struct mvm_check *check);

/*
 * Look at everything.
 *
 *   data_dir  as for mvm_open(); one that cannot be opened is a finding, not an error.  Created if
 *             it is missing
 *   ret       in a fixed order; mvm_check_list_free() the list
 *
 * Starts the backends' programs once to ask for their versions, and writes two small files into the
 * data folder to see what its file system can do; they are gone at the end.
 * Returns the worst level found, or a negative errno.
 */
MVM_API int mvm_doctor(const char *data_dir, struct mvm_check ***ret, size_t *ret_n,
		       struct mvm_error *err);
MVM_API void mvm_check_list_free(struct mvm_check **list, size_t n);

/*
 * How much the processes of this host wait for it: the kernel's pressure stall information, as the
 * share of the last ten seconds in which at least one waited ("some avg10"), in per cent.
 */
#define MVM_HOST_PRESSURE_TEXT_SIZE 128
struct mvm_host_pressure {
	size_t size; /* MVM_HOST_PRESSURE_INIT sets it (mvm/struct.h) */
	bool known;  /* false: the kernel does not tell, and these three are 0 */
	double cpu, memory, io;
	double load_per_cpu; /* processes that ran or waited for each CPU, in the last minute */
	char text[MVM_HOST_PRESSURE_TEXT_SIZE]; /* a sentence of it */
};
#define MVM_HOST_PRESSURE_INIT MVM_STRUCT_INIT(struct mvm_host_pressure)
MVM_API void mvm_host_pressure(struct mvm_host_pressure *ret);

#endif
