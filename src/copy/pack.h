/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_PACK_H
#define COPY_PACK_H

/*
 * A file, link or folder as a tar stream, made piece by piece as it is asked for.
 *
 * Files, folders and symbolic links with their modes and times; owners are not carried, further
 * names of a file become files of their own, and devices, pipes and sockets are left out.  Links
 * are never followed, but for the source itself where that is asked for.  What goes away while it
 * is read is left out; a file that shrinks is filled up with zeros.  Where /proc or /sys is mounted
 * below the source there is an empty folder; a file of theirs that is the source itself comes
 * whole, although they do not say how large it is.
 */

#include "copy/tar.h"

struct pack;

enum pack_flags {
	PACK_FOLLOW = 1u << 0, /* the source may be a symbolic link to what is meant */
	PACK_GO_ON = 1u << 1,  /* what cannot be opened below the source is left out, and
				* pack_read() fails at the end of the stream; err must not be NULL */
};

/*
 * Begin.
 *
 *   dir_fd, path  the source; path may be absolute; copied
 *   name          what it is called in the stream, 1 to 255 bytes without a slash; "." for the
 *                 contents of a folder
 *
 * Returns 0; -ENOENT, -ENOTDIR (name is "." and the source is no folder), -EINVAL (a device),
 * -EACCES and others.  One descriptor for each level of folders, at most PACK_DEPTH_MAX.
 */
int pack_open(int dir_fd, const char *path, const char *name, unsigned flags, struct pack **ret,
	      struct mvm_error *err);

#define PACK_DEPTH_MAX 128u

/* The next bytes of the stream, at most len.  Returns how many, 0 at its end, or -errno. */
ssize_t pack_read(struct pack *p, void *data, size_t len, struct mvm_error *err);

/* Say what was left out; nothing is added when there is nothing to say. */
void pack_note(const struct pack *p, struct strbuf *to);

void pack_free(struct pack *p);
DEFINE_AUTO(pack, pack_free)

#endif
