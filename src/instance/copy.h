/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_COPY_H
#define INSTANCE_COPY_H

/* Copies files between this host and a running guest: packs a tar stream for the agent, or unpacks
 * the agent's stream as it arrives (copy/tar.h). */

#include <mvm/instance.h>

#include "base/progress.h"
#include "instance/session.h"
#include "net/agent.h"

/* struct mvm_copy_options in internal form: plain descriptors, negative for none. */
struct copy_options {
	bool follow_link;
	uint64_t max_bytes;		     /* 0: MVM_COPY_MAX_BYTES */
	int stream_fd;			     /* -1: none */
	int64_t timeout_ms;		     /* negative: none */
	int64_t idle_ms;		     /* 0: never */
	const struct mvm_progress *progress; /* may stop the copy; NULL: none */
	mode_t umask;			     /* with UNPACK_UMASK */
};

/*
 * Copy, as mvm_instance_copy_in() and mvm_instance_copy_out() do.
 *
 *   ret_note  a sentence about files that were left out, "" when there were none; the caller
 *             frees it
 */
int copy_in(struct control *c, const char *host_path, const char *guest_path,
	    const struct copy_options *options, struct strbuf *ret_note, struct mvm_error *err);
int copy_out(struct control *c, const char *guest_path, const char *host_path,
	     const struct copy_options *options, struct strbuf *ret_note, struct mvm_error *err);

/* Does the path stand for a folder's contents?  "a/b/.", "a/b/.." and "/" do. */
bool copy_means_contents(const char *path);

/* The last component of a path, without trailing slashes.  The caller frees it. */
char *copy_last_name(const char *path);

/*
 * The parts of copy_in() and copy_out(), with more options.
 *
 *   dir_fd      base of a relative host_path; borrowed
 *   contents    copy the contents of a folder; guest_path is the folder for them
 *   name        the source's name in the stream, "." for contents
 *   flags       for unpack.h
 */
int copy_put(struct control *c, int dir_fd, const char *host_path, const char *guest_path,
	     bool contents, const char *name, enum put_owner owner,
	     const struct copy_options *options, struct strbuf *ret_note, struct mvm_error *err);
int copy_get(struct control *c, const char *guest_path, int dir_fd, const char *host_path,
	     const struct copy_options *options, unsigned flags, struct strbuf *ret_note,
	     struct mvm_error *err);

/*
 * Copy the guest's root file system out, as a tar (CALL_COMMIT).  Its processes are frozen
 * meanwhile.
 *
 *   volumes     paths in the guest whose contents come from the image instead
 *   to_fd       a file; borrowed
 *   max_bytes   of the tar; -EFBIG beyond
 *   step        told of the bytes; may be NULL
 */
int copy_root(struct control *c, const struct strv *volumes, int to_fd, uint64_t max_bytes,
	      struct progress_step *step, const struct copy_options *options,
	      struct strbuf *ret_note, struct mvm_error *err);

/* Bytes that a copy of a tree's files will need, in whole pages; holes stay holes.  The tree may
 * change meanwhile.  progress: its receiver may stop this, and the result then means nothing; may
 * be NULL. */
uint64_t copy_tree_bytes(const char *path, bool follow_link, const struct mvm_progress *progress);

#endif
