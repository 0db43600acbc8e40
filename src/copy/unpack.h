/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_UNPACK_H
#define COPY_UNPACK_H

/*
 * Unpacks a tar stream into files, and writes nothing outside the given destination.
 *
 * The stream is not trusted.  Absolute paths, ".." and names that were not asked for are refused.
 * Every folder on the way to an entry is opened on its own, from its open parent and never through
 * a symbolic link.  A file or link is made beside its place and renamed onto it: an existing file
 * is replaced whole, never written through.  A file gets its name once it is whole (O_TMPFILE,
 * where the file system has that), so a killed copy leaves nothing half done.  Devices and pipes
 * are refused.  Blocks of zeros become holes, and a sparse file's holes are not sent at all. Owners
 * are not copied: everything belongs to the unpacking user, or to one given owner.  An existing
 * folder keeps its mode and owner.
 */

#include "copy/tar.h"

struct unpack;

enum unpack_flags {
	/* path is the folder for all entries; made if missing */
	UNPACK_CONTENTS = 1u << 0,
	/* the sender is a guest: drop set-uid, set-gid and sticky bits, and apply the umask */
	UNPACK_GUARDED = 1u << 1,
	/* keep a file whose size, time and mode are equal already; give a folder the stream's mode;
	 * the umask removes no bit that was set before */
	UNPACK_KEEP_SAME = 1u << 2,
	/* new files and folders belong to options.owner */
	UNPACK_OWNED = 1u << 3,
	/* existing folders too, the destination among them */
	UNPACK_OWN_FOLDERS = 1u << 4,
	/* the stream must be one regular file; path is its name, and not a link or folder */
	UNPACK_ONE_FILE = 1u << 5,
	/* leave out an entry that cannot be made or written; unpack_finish() counts them, and err
	 * must not be NULL */
	UNPACK_GO_ON = 1u << 6,
	/* a folder of the stream replaces a symbolic link instead of following it */
	UNPACK_REPLACE_LINKS = 1u << 7,
	/* the umask is options.umask: this process may not be able to look for its own */
	UNPACK_UMASK = 1u << 8,
};

struct unpack_owner {
	uid_t uid;
	gid_t gid;
};

struct unpack_options {
	int dir_fd; /* base of a relative path; borrowed */
	/* The destination: an existing folder, or a new name in an existing folder.  It comes from
	 * the user, so links in it are followed. */
	const char *path;
	const char *name; /* the source's new name in a folder; NULL: as in the stream */
	unsigned flags;
	uint64_t max_bytes;	   /* of all contents together, without holes; 0: no limit */
	struct unpack_owner owner; /* with UNPACK_OWNED */
	mode_t umask;		   /* with UNPACK_UMASK */
};

#define UNPACK_DEPTH_MAX   128u
#define UNPACK_ENTRIES_MAX (4u << 20)

/* Begin.  -ENOENT, -ENOTDIR (path should be a folder but is not), -EEXIST (it is a device, a pipe
 * or the like) and others.  A failure leaves nothing behind, except the folder of
 * UNPACK_CONTENTS. */
int unpack_open(const struct unpack_options *o, struct unpack **ret, struct mvm_error *err);

/* The name that the sender may best give the stream's top entry; NULL: any names. */
const char *unpack_name(const struct unpack *u);

/*
 * Take the next bytes.
 *
 * Returns 0; -EBADMSG (the stream is damaged, or has a name that was not asked for), -EPERM (it
 * leads outside), -EISDIR and -ENOTDIR (something else is in the way), -EFBIG, -ENOSPC and others.
 * Files made before a failure stay, each of them whole.
 */
int unpack_write(struct unpack *u, const void *data, size_t len, struct mvm_error *err);

/* End the input and set the last folders' times.  -EBADMSG when the stream was cut.  With
 * UNPACK_GO_ON it returns the first failure's code, and the text counts the failures and has the
 * first few. */
int unpack_finish(struct unpack *u, struct mvm_error *err);

void unpack_free(struct unpack *u);
DEFINE_AUTO(unpack, unpack_free)

#endif
