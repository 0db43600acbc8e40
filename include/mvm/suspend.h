/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_SUSPEND_H
#define MVM_SUSPEND_H

/*
 * Suspending and forking instances that run (doc/suspend.md).
 *
 * Both keep the device state and the pages of memory that differ from the template's snapshot.  So
 * the instance must have been restored from one, by a backend that can do this (QEMU).
 */

#include <mvm/instance.h>

/*
 * Keep a running instance's state in its folder, and end its VM.  mvm_instance_resume() continues
 * it, also after a restart of this host.
 *
 *   progress  if it ends the wait, the supervisor suspends the VM all the same; may be NULL
 *
 * Takes as long as writing its pages to the disk.  Until then the guest stands still.  After a
 * failure it runs on.
 * Errors: -ENOENT; -EBUSY (it does not run, or is being started or stopped; it is paused; clients
 * use its guest); -EOPNOTSUPP (it has booted; its backend cannot do it; a volume is to be copied
 * back at its end; it ends with its starter; its agent is of an older mvm); -ESTALE (the snapshot
 * was taken anew since); -ENOSPC.
 */
MVM_API int mvm_instance_suspend(struct mvm *mvm, const char *name,
				 const struct mvm_progress *progress, struct mvm_error *err);

struct mvm_fork_options {
	size_t size;	  /* MVM_FORK_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *name; /* as in struct mvm_start_options */
	bool held;	  /* likewise */
	bool remove_at_end;
	/* added to the origin's; of two with one key these count (mvm/instance.h). NULL-terminated;
	 * NULL: none */
	const char *const *labels;
};
#define MVM_FORK_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_fork_options)

/*
 * Start n instances that continue from this moment of a running one, which runs on.
 *
 *   options   borrowed; NULL: all defaults
 *   n         1 to MVM_START_MANY_MAX
 *   progress  as in mvm_instance_start_many(); may be NULL
 *   ret       array of n connections, each to be closed; all NULL after a failure
 *
 * Each fork gets an identity of its own, as a clone of the template does (doc/clones.md), and the
 * origin's other options.  A fixed port of the host becomes a free one.  A fork has the files of
 * the origin's volumes, but none is copied back.  Either all n run at the end or none does.
 *
 * The origin stands still while its pages are copied, at about 0.5 GB/s, and its disks.
 * Errors: those of mvm_instance_suspend() and mvm_instance_start_many().
 */
MVM_API int mvm_instance_fork(struct mvm *mvm, const char *name,
			      const struct mvm_fork_options *options, uint32_t n,
			      const struct mvm_progress *progress, struct mvm_instance **ret,
			      struct mvm_error *err);

#endif
