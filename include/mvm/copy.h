/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_COPY_H
#define MVM_COPY_H

/* Copies of files into an instance's guest and out of it.  mvm/instance.h includes this. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stdint.h>

struct mvm_instance; /* mvm/instance.h */

/* Default limit of a copy onto this host: 64 GiB. */
#define MVM_COPY_MAX_BYTES (UINT64_C(64) << 30)

struct mvm_copy_options {
	size_t size;	      /* MVM_COPY_OPTIONS_INIT sets it (mvm/struct.h) */
	bool follow_link;     /* if the source is a symbolic link, copy its target */
	uint64_t max_bytes;   /* limit out of the guest; 0: MVM_COPY_MAX_BYTES */
	const int *stream_fd; /* the tar stream, when host_path is NULL */
	int64_t timeout_ms;   /* 0: none */
	/* give up when the guest is silent for this long, apart from time in which stream_fd gives
	 * or takes no bytes; 0: never */
	int64_t idle_ms;
};
#define MVM_COPY_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_copy_options)

/*
 * Copy a file, link or folder into the guest, or out of it, with modes and times.
 *
 *   host_path   NULL: a tar stream from or to options->stream_fd
 *   guest_path  absolute
 *   options     borrowed; NULL: all defaults
 *   progress    gets a note about skipped devices, pipes and sockets; its cancel_fd ends the copy;
 *               may be NULL
 *
 * If the destination is a folder, the source goes into it.  Otherwise the destination is the new
 * name, in a folder that must exist.  A source that ends in "/." means the contents of that folder;
 * they, and those of a tar stream, go into the destination, which is made if missing.  Owners are
 * not copied: in the guest everything belongs to root, here to the caller, and set-user-id bits are
 * dropped.  Nothing is written outside the destination: names, links and ".." that would lead out
 * are refused.
 *
 * Errors: -ENOENT, -EPERM and -EBADMSG (the stream was refused), -EISDIR, -ENOTDIR, -EFBIG (over
 * max_bytes), -ENOSPC, -EREMOTEIO (the VM has ended), -ETIMEDOUT, -ECANCELED and others.
 */
MVM_API int mvm_instance_copy_in(struct mvm_instance *instance, const char *host_path,
				 const char *guest_path, const struct mvm_copy_options *options,
				 const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_instance_copy_out(struct mvm_instance *instance, const char *guest_path,
				  const char *host_path, const struct mvm_copy_options *options,
				  const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Copy an instance's write_back volumes from its guest back to this host.  mvm_instance_stop() does
 * this by itself.  A file whose size, time and mode have not changed is not touched.  A file that
 * was removed in the guest stays here.  An instance without such volumes is a success.
 *
 *   options   only timeout_ms counts, for all volumes together (0: the instance's
 *             volume_timeout_ms); NULL: the instance's volume_timeout_ms
 *   progress  its cancel_fd ends the copy; may be NULL
 *
 * After a file or volume fails, the others are still tried.  The error names the volumes that did
 * not come back whole, and the first few files.  A guest that is silent for 30 s has failed.  A VM
 * that is already ending copies back by itself; this call then waits for its end.  Devices, pipes
 * and sockets are left out; the event "volumes" names them.
 * Errors: -EBUSY when the instance does not run, else as mvm_instance_copy_out().
 */
MVM_API int mvm_instance_copy_back(struct mvm *mvm, const char *name,
				   const struct mvm_copy_options *options,
				   const struct mvm_progress *progress, struct mvm_error *err);

#endif
