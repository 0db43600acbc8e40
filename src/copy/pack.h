/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_PACK_H
#define COPY_PACK_H

/*
 * Packs a file, link or folder into a tar stream, piece by piece on demand.
 *
 * The stream has files, folders and symbolic links with their modes and times.  It has no owners.
 * Each hard link becomes a file of its own.  Devices, pipes and sockets are left out.  Links are
 * never followed, except the source itself with PACK_FOLLOW.  A file that disappears meanwhile is
 * left out; a file that shrinks is filled up with zeros.  A mount of /proc or /sys below the source
 * becomes an empty folder.  A file of theirs that is itself the source comes whole, although its
 * size is unknown.
 */

#include "base/str.h"
#include "copy/tar.h"

struct pack;

enum pack_flags {
	PACK_FOLLOW = 1u << 0, /* if the source is a symbolic link, pack its target */
	PACK_HOLES = 1u << 2,  /* the reader takes sparse files: send their data, not their holes */
	/* leave out files below the source that cannot be opened, and fail in pack_read() at the
	 * end of the stream; err must not be NULL */
	PACK_GO_ON = 1u << 1,
};

/*
 * Begin a stream.
 *
 *   dir_fd, path  the source; path may be absolute; copied
 *   name          the source's name in the stream, 1 to 255 bytes without a slash; "." for the
 *                 contents of a folder
 *
 * Returns 0; -ENOENT, -ENOTDIR (name is "." and the source is no folder), -EINVAL (a device),
 * -EACCES and others.  One descriptor for each level of folders, at most PACK_DEPTH_MAX.
 */
int pack_open(int dir_fd, const char *path, const char *name, unsigned flags, struct pack **ret,
	      struct mvm_error *err);

#define PACK_DEPTH_MAX 128u

/* Places whose contents come from another folder, with or without their names there. */
struct pack_below {
	int dir_fd;
	const struct strv *paths; /* relative, without "." and "..", "etc/hosts" */
};

/*
 * Begin a stream of a root file system, from which the same file system can be made again.
 *
 * Beside what other streams have, it has owners, hard links, devices, pipes and the extended
 * attributes of files and folders ("user.", "security.", "trusted.", unless their name has a '=').
 * Its times are whole seconds, as images have them.  It has neither sockets nor what is mounted
 * anywhere on a mount that dir_fd is the root of, if that mount is alone (OPEN_TREE_CLONE).
 *
 *   dir_fd  the root; borrowed until pack_free(), as below is
 */
int pack_open_root(int dir_fd, const struct pack_below *below, struct pack **ret,
		   struct mvm_error *err);

/* Before the first pack_read(): as with PACK_HOLES. */
void pack_holes(struct pack *p);

/* The next bytes of the stream, at most len.  Returns how many, 0 at its end, or -errno. */
ssize_t pack_read(struct pack *p, void *data, size_t len, struct mvm_error *err);

/* Describe the devices, pipes and sockets that were left out; adds nothing when there were none. */
void pack_note(const struct pack *p, struct strbuf *to);

void pack_free(struct pack *p);
DEFINE_AUTO(pack, pack_free)

#endif
