/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_UNPACK_STATE_H
#define COPY_UNPACK_STATE_H

/* An unpacker from within, for unpack.c (entries), unpack_folder.c and unpack_file.c. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/str.h"
#include "copy/some.h"
#include "copy/tar.h"
#include "copy/unpack.h"

#define UNPACK_TEMPORARY_SIZE 32

/* A folder on the way to the current entry. */
struct unpack_level {
	int fd;
	char *name;
	bool made;	/* by us */
	bool described; /* the stream had an entry for it */
	mode_t mode;
	struct timespec mtime;
};

struct unpack {
	struct tar_reader reader;
	unsigned flags;
	char *top;  /* stored name of the only top entry; NULL: any */
	char *from; /* its name in the stream; NULL: not known yet */
	struct unpack_owner owner;
	mode_t umask; /* with UNPACK_GUARDED */
	uint64_t bytes_left, entries_left;
	struct unpack_level levels[UNPACK_DEPTH_MAX + 1]; /* the first one is the place itself */
	unsigned n_levels;
	int file_fd;			       /* being written, -1: none */
	uint64_t file_left;		       /* bytes still to come */
	char temporary[UNPACK_TEMPORARY_SIZE]; /* beside its place, in the last level; "": no name
						  yet */
	char *file_name;
	mode_t file_mode;
	struct timespec file_mtime;
	struct some missed; /* with UNPACK_GO_ON */
};

/* Set the error "cannot WHAT 'PATH'".  Returns r. */
int unpack_cannot(int r, const char *what, const char *path, struct mvm_error *err);

/* With UNPACK_GO_ON a failure costs one file, and is reported at the end. */
int unpack_forgive(struct unpack *u, int r, struct mvm_error *err);

/* The mode to set.  before: the old mode, or 0. */
mode_t unpack_mode(const struct unpack *u, mode_t wanted, mode_t before);

int unpack_own(const struct unpack *u, int dir_fd, const char *name, int flags);
int unpack_own_fd(const struct unpack *u, int fd);

/* The folder of the current entry. */
int unpack_folder_fd(const struct unpack *u);

/* The components of a path in the stream, as they are stored. */
int unpack_split(struct unpack *u, const char *path, struct strv *ret, struct mvm_error *err);

/* Make the folder of the first n components the current one.  described: the last of them has an
 * entry. */
int unpack_enter(struct unpack *u, const struct strv *parts, size_t n, bool described,
		 const char *path, struct mvm_error *err);

/* Leave the last folder, and set its mode and time now that nothing more is made in it. */
int unpack_leave(struct unpack *u, struct mvm_error *err);

/* Note the stream's mode and time of a folder.  unpack_leave() sets them. */
int unpack_describe(struct unpack *u, struct unpack_level *l, const struct tar_entry *e,
		    struct mvm_error *err);

/* Open the folder of an earlier entry, from the destination down; never through a link. */
int unpack_open_parent(const struct unpack *u, const struct strv *parts);

/* Begin the file of an entry. */
int unpack_open_file(struct unpack *u, const struct tar_entry *e, struct mvm_error *err);

/* Give the current file its owner, mode, time and name. */
int unpack_finish_file(struct unpack *u, struct mvm_error *err);

/* Drop the current, incomplete file. */
void unpack_drop_file(struct unpack *u);

/* The target of a symbolic or hard link. */
struct unpack_link {
	int from_fd; /* with a hard link */
	const char *target;
	bool hard;
};

/* Make a link under its name, or under a temporary name that then replaces the existing file. */
int unpack_place_link(struct unpack *u, const struct unpack_link *l, const char *name,
		      const struct timespec times[2], struct mvm_error *err);

#endif
