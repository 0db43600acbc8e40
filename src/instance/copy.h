/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_COPY_H
#define INSTANCE_COPY_H

/* Files between this host and a running guest: a tar stream to or from the agent (copy/tar.h), made
 * and unpacked here as it comes. */

#include <mvm/instance.h>

#include "instance/session.h"
#include "net/agent.h"

/* As struct mvm_copy_options, with descriptors and times as they are used here. */
struct copy_options {
	bool follow_link;
	uint64_t max_bytes; /* 0: MVM_COPY_MAX_BYTES */
	int stream_fd;	    /* -1: none */
	int64_t timeout_ms; /* negative: none */
	int64_t idle_ms;    /* 0: never */
	int cancel_fd;	    /* -1: none */
};

/*
 * Copy, as mvm_instance_copy_in() and mvm_instance_copy_out() do.
 *
 *   ret_note  what was left out, for people; the caller's, "" when there is nothing to say
 */
int copy_in(struct control *c, const char *host_path, const char *guest_path,
	    const struct copy_options *options, struct strbuf *ret_note, struct mvm_error *err);
int copy_out(struct control *c, const char *guest_path, const char *host_path,
	     const struct copy_options *options, struct strbuf *ret_note, struct mvm_error *err);

/*
 * The parts of copy_in() and copy_out(), with more to choose.
 *
 *   dir_fd      what host_path counts from; borrowed
 *   contents    of a folder, and guest_path is the folder for them
 *   name        what it is called in the stream, "." for contents
 *   flags       for unpack.h
 */
int copy_put(struct control *c, int dir_fd, const char *host_path, const char *guest_path,
	     bool contents, const char *name, enum put_owner owner,
	     const struct copy_options *options, struct strbuf *ret_note, struct mvm_error *err);
int copy_get(struct control *c, const char *guest_path, int dir_fd, const char *host_path,
	     const struct copy_options *options, unsigned flags, struct strbuf *ret_note,
	     struct mvm_error *err);

/* What the files of a tree will take elsewhere, in pages; holes stay holes.  It may change while it
 * is looked at. */
uint64_t copy_tree_bytes(const char *path, bool follow_link);

#endif
