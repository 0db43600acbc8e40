/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_FILES_H
#define GUEST_FILES_H

/*
 * CALL_FILES: the agent itself does what others need stat, ls, mkdir, mv, rm, cat and inotifywait
 * for, which an image may lack.  It runs in a child of its own, as a copy does.
 *
 *	stat PATH	    an entry
 *	list PATH DEPTH	    entries below PATH, DEPTH folders deep (at least 1); each folder before
 *			    what is in it, by name
 *	mkdir PATH	    with the folders above; an entry; EEXIST: it is a folder already
 *	move FROM TO	    with the folders above TO; TO's entry
 *	remove PATH	    with all that is in it; a missing one is fine
 *	read PATH [OFFSET [LENGTH]]
 *			    an entry, then the file's contents; an OFFSET of "-N" is N bytes
 *			    before the end, "" the beginning
 *	write PATH [MODE [whole [METADATA]]]
 *			    standard input becomes the file's contents; an entry.  Folders above are
 *			    made.  With "whole" a regular file changes all at once: a write that is
 *			    broken off leaves it as it was.  SIGTERM breaks it off.  METADATA
 *			    (metadata.h) replaces what the file has; without it, that stays
 *	watch PATH [OPTION...]
 *			    events, without end; the first one is "ready" and says that it began.
 *			    "recursive": of folders below, too; "entries": with entries; "local":
 *			    a network's file system is refused (EINVAL)
 *
 * A relative PATH begins in the user's home folder, as does "~/"; "" and "~" are that folder.  The
 * result has no "." and "..".
 *
 * An entry is nine strings, each with its NUL: its type ("f", "d", "o", or "l" for a link that
 * leads nowhere) and its mode in octal, both of what a link leads to; its size in bytes, time of
 * change in ns since 1970, owner and group (names, else numbers), path, where a link leads to (""
 * if it is no link), and metadata.  An event is two: "create", "write", "remove", "rename", "chmod"
 * or "overflow", and the name below PATH.  With "entries" an entry follows, or an empty string
 *where the name has gone.  Numbers are decimal.
 */

#include "base/str.h"
#include "user.h"

/* Do it.  Returns the exit status: 0, or the errno of the error on standard error. */
int files_run(const struct strv *args, const struct user *user);

/* Make a path absolute as above.  ret has room for PATH_MAX bytes. */
int files_resolve(const struct user *user, const char *path, char *ret, struct mvm_error *err);

/* Print an entry.  path is absolute. */
int files_put_entry(const char *path, struct mvm_error *err);

/* The watch (files_watch.c).  Returns only with an error.  options ends with NULL. */
int files_watch(const char *path, char *const *options, struct mvm_error *err);

#endif
