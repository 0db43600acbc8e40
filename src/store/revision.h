/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_REVISION_H
#define STORE_REVISION_H

/*
 * Templates and their revisions.
 *
 * How a revision comes to be, under the template's lock:
 *
 *	AUTO_DONE(staging) st = STAGING_NONE;
 *	store_stage(s, &st, err);
 *	... files into st.fd: blobs by store_blob_take() or store_blob_link(), fc-base.json ...
 *	store_checksums_write(st.fd, id, revision, NULL, 0, err);
 *	store_revision_save(st.fd, &rev, err);
 *	store_revision_publish(s, &st, id, revision, err);
 *	store_current_set(s, id, revision, err);
 *
 * A snapshot is added or replaced by staging the revision again as a whole with
 * store_stage_revision(), and publishing that: the folders are exchanged in one rename, and the
 * old one is removed with the staging.  VMs that run from the old folder hold it open.
 */

#include "model/template.h"
#include <mvm/digest.h>

#include "base/str.h"
#include "store/store.h"

#define STORE_ID_SIZE	    64
#define STORE_REVISION_SIZE 65

/* ---- Templates ---- */

/* The ids of all templates, sorted; folders without template.json are none. */
int store_template_list(struct store *s, struct strv *ret, struct mvm_error *err);

/* -ENOENT "no template '...'", -EBADMSG when its file is damaged. */
int store_spec_load(struct store *s, const char *id, struct mvm_template_spec *ret,
		    struct mvm_error *err);

/* Create or replace template.json, atomically.  The caller holds the template's lock. */
int store_spec_save(struct store *s, const struct mvm_template_spec *spec, struct mvm_error *err);

/*
 * Find the revision that "ID" (its current one) or "ID@REV" means.  REV may be the beginning of
 * only one revision's name, of 4 characters or more.
 *
 * Errors: -EINVAL (no valid name, or ambiguous), -ENOENT.
 */
int store_template_resolve(struct store *s, const char *name, char ret_id[STORE_ID_SIZE],
			   char ret_revision[STORE_REVISION_SIZE], struct mvm_error *err);

/* ---- The current revision ---- */

/* Point `current` at a revision that exists. */
int store_current_set(struct store *s, const char *id, const char *revision, struct mvm_error *err);

/* Reads links of both shapes, artifacts/<rev> and, from other programs, revisions/<rev>.
 * -ENOENT when nothing was built yet, -EBADMSG when the link is neither. */
int store_current_get(struct store *s, const char *id, char ret[STORE_REVISION_SIZE],
		      struct mvm_error *err);

/* The same of a link that leads to a revision: -EBADMSG when that is not there. */
int store_current_find(struct store *s, const char *id, char ret[STORE_REVISION_SIZE],
		       struct mvm_error *err);

/* ---- Revisions ---- */

/* The names of a template's revisions, sorted. */
int store_revision_list(struct store *s, const char *id, struct strv *ret, struct mvm_error *err);

/* The revision's folder.  Its files stay as long as the descriptor is open, also when the revision
 * is replaced meanwhile.  Returns a descriptor to close; -ENOENT. */
int store_revision_open(struct store *s, const char *id, const char *revision,
			struct mvm_error *err);

/* Open it and read its revision.json.  ret_dir_fd: to close; may be NULL.  -EBADMSG if damaged. */
int store_revision_load(struct store *s, const char *id, const char *revision,
			struct mvm_template_revision *ret, int *ret_dir_fd, struct mvm_error *err);

/* Write revision.json into a staging folder. */
int store_revision_save(int dir_fd, const struct mvm_template_revision *rev, struct mvm_error *err);

/* Stage a revision again: hard links to its files but revision.json, checksums.json and the
 * snapshot folder, which the caller makes anew, and `verified` (store/trust.h).  -EEXIST as
 * store_revision_publish(). */
int store_stage_revision(struct store *s, const char *id, const char *revision, struct staging *ret,
			 struct mvm_error *err);

/*
 * Move a staging folder into place as a revision; the caller holds the template's lock.
 *
 * Every byte and name is on disk before the rename, which is the commit point, and the rename is
 * when the function returns.  Where the revision exists, both folders are exchanged and the old
 * one goes with staging_done().  Returns 1 if the revision is new, 0 if it was replaced.
 * Errors: -EEXIST when the old folder has a file that mvm did not make (store_revision_is_pure),
 * -EOPNOTSUPP when the file system cannot exchange folders, -ENOSPC and others.
 */
int store_revision_publish(struct store *s, struct staging *st, const char *id,
			   const char *revision, struct mvm_error *err);

/* ---- Removing ---- */

/*
 * Remove a template with everything in it.  The caller holds its lock and the claim on it.
 *
 * One rename into staging is the commit point.  -ENOENT when it is not there.
 */
int store_template_remove(struct store *s, const char *id, struct mvm_error *err);

/*
 * Remove revisions of a template, whose lock the caller holds:
 *
 *	AUTO_DONE(removal) removal = REMOVAL_NONE;
 *	store_removal_start(s, id, &removal, err);
 *	store_removal_add(s, &removal, revision, err);	for each, while it is claimed
 *	store_removal_commit(&removal, err);
 *
 * Each add is a rename into staging, after which the revision is gone for everybody; the commit is
 * one fsync for all, after which a crash does not bring them back.  The files go with
 * removal_done(), those that somebody reads with a later sweep.
 */
struct removal {
	int dir_fd;
	int tmp_fd;	    /* borrowed from the store, which must be open until removal_done() */
	struct strv staged; /* in tmp/ */
};
#define REMOVAL_NONE                                                                               \
	{                                                                                          \
		.dir_fd = -1                                                                       \
	}
void removal_done(struct removal *r);
DEFINE_AUTO_DONE(removal, removal_done)

int store_removal_start(struct store *s, const char *id, struct removal *ret,
			struct mvm_error *err);
int store_removal_add(struct store *s, struct removal *r, const char *revision,
		      struct mvm_error *err);
int store_removal_commit(struct removal *r, struct mvm_error *err);

/* ---- Checksums ---- */

struct checksum {
	char *path;
	struct mvm_digest digest;
};
struct checksums {
	struct checksum *v;
	size_t n;
};
void checksums_done(struct checksums *c);
DEFINE_AUTO_DONE(checksums, checksums_done)

/*
 * The SHA-256 of every file below dir_fd but checksums.json and revision.json.
 *
 *   known    digests that need not be computed again, by path ("rootfs.ext4"); may be NULL
 */
int store_checksums_make(int dir_fd, const struct mvm_artifact *known, size_t n_known,
			 struct checksums *ret, struct mvm_error *err);

/* The same into checksums.json. */
int store_checksums_write(int dir_fd, const char *id, const char *revision,
			  const struct mvm_artifact *known, size_t n_known, struct mvm_error *err);

/* Read checksums.json.  Its paths are only to be compared, never opened: they may be anything.
 * -ENOENT when it is missing, -EBADMSG when it is damaged. */
int store_checksums_read(int dir_fd, struct checksums *ret, struct mvm_error *err);

/* The digest on record for a path, or NULL. */
const struct mvm_digest *checksums_find(const struct checksums *c, const char *path);

/* The paths of the files that checksums.json is about, sorted: all but itself and revision.json.
 * 0 or -errno. */
int store_revision_files(int dir_fd, struct strv *ret);

/* Is this folder a revision, and nothing but a revision?  Its files are those in checksums.json;
 * without a readable one, those that mvm gives a revision.  1, 0 or -errno. */
int store_revision_is_pure(int dir_fd);

/* Compare every file of a revision's folder with checksums.json.  -EBADMSG names the first file
 * that differs, is missing, or is there without being listed. */
int store_revision_verify(int dir_fd, struct mvm_error *err);

#endif
