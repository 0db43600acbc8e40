/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_UNPACK_H
#define COPY_UNPACK_H

/*
 * A tar stream as files, and nothing outside of the place that was named for them.
 *
 * The stream is not trusted.  Absolute paths, ".." and names that were not asked for are refused;
 * every folder on the way to an entry is opened by itself and never through a symbolic link, from
 * the one above it, which stays open.  A file or link is made beside its place and renamed onto
 * it: what was there is replaced whole, never written through.  A file gets a name when it is whole
 * (O_TMPFILE, where the file system has that), so a copy that is killed leaves nothing half done.
 * Devices and pipes are refused.  Blocks of zeros become holes, so that a sparse file stays one.
 * Owners are not taken over: everything belongs to whoever unpacks, or to one owner who is named.
 * A folder that is there already keeps its mode and owner.
 */

#include "copy/tar.h"

struct unpack;

enum unpack_flags {
	UNPACK_CONTENTS =
		1u << 0,	  /* path is the folder that the entries go into; made if missing */
	UNPACK_GUARDED = 1u << 1, /* the sender is a guest: no set-uid, set-gid or sticky bits, and
				   * none that the umask takes away */
	UNPACK_KEEP_SAME = 1u << 2,   /* a file that has the size, time and mode already stays; a
				       * folder gets the stream's mode; the umask takes no bit away
				       * that was there before */
	UNPACK_OWNED = 1u << 3,	      /* what is made belongs to options.owner */
	UNPACK_OWN_FOLDERS = 1u << 4, /* and folders that are there, the place itself among them */
	UNPACK_ONE_FILE = 1u << 5,    /* a regular file is what must come, and nothing else; path is
				       * its name, where a link or a folder is refused */
	UNPACK_GO_ON = 1u << 6,	      /* an entry that cannot be made, or written, is left out;
				       * unpack_finish() counts them, err must not be NULL */
};

struct unpack_owner {
	uid_t uid;
	gid_t gid;
};

struct unpack_options {
	int dir_fd;	  /* what path counts from; borrowed */
	const char *path; /* where to.  An existing folder: into it, else: the new name itself, in a
			   * folder that must exist.  Links in it are followed: it is the user's */
	const char *name; /* what the source is called there; NULL: as in the stream */
	unsigned flags;
	uint64_t max_bytes;	   /* of all contents together; 0: no limit */
	struct unpack_owner owner; /* with UNPACK_OWNED */
};

#define UNPACK_DEPTH_MAX   128u
#define UNPACK_ENTRIES_MAX (4u << 20)

/* Begin.  -ENOENT, -ENOTDIR (path says folder and is none), -EEXIST (it is a device, a pipe or the
 * like) and others; nothing was made then but, with UNPACK_CONTENTS, the folder. */
int unpack_open(const struct unpack_options *o, struct unpack **ret, struct mvm_error *err);

/* The one name that the stream must have at its top, when it does not matter what the sender calls
 * it; NULL when any names may come. */
const char *unpack_name(const struct unpack *u);

/*
 * Take the next bytes.
 *
 * Returns 0; -EBADMSG (the stream is damaged, or has what was not asked for), -EPERM (it leads
 * outside), -EISDIR and -ENOTDIR (something else is in the way), -EFBIG, -ENOSPC and others.  What
 * was made before a failure stays, each file whole.
 */
int unpack_write(struct unpack *u, const void *data, size_t len, struct mvm_error *err);

/* No more will come: set the last folders' times.  -EBADMSG when the stream was cut; with
 * UNPACK_GO_ON the first failure's code, and a text that has the number and the first few. */
int unpack_finish(struct unpack *u, struct mvm_error *err);

void unpack_free(struct unpack *u);
DEFINE_AUTO(unpack, unpack_free)

#endif
