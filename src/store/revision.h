/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_REVISION_H
#define STORE_REVISION_H

/*
 * Templates and their revisions.
 *
 * Making a revision, under the template's lock:
 *
 *	AUTO_DONE(staging) st = STAGING_NONE;
 *	store_stage(s, &st, err);
 *	... files into st.fd: blobs by store_blob_take() or store_blob_link(), fc-base.json ...
 *	store_revision_save(st.fd, &rev, err);
 *	store_checksums_write(st.fd, id, revision, NULL, 0, NULL, err);
 *	store_revision_publish(s, &st, id, revision, err);
 *	store_current_set(s, id, revision, err);
 *
 * To add or replace a snapshot, stage the whole revision again with store_stage_revision() and
 * publish it.  One rename exchanges the folders, and the old folder is removed with the staging.
 * VMs that run from the old folder hold it open.
 */

#include "model/template.h"
#include <mvm/digest.h>

#include "base/progress.h"
#include "base/str.h"
#include "store/store.h"

/* ---- Templates ---- */

/* Is there such a template, be it damaged?  Returns 1, 0, or -errno: the name is no template's. */
int store_template_exists(struct store *s, const char *id, struct mvm_error *err);

/* The ids of all templates, sorted.  A folder without template.json is one only if it has a
 * revision: then the file was lost. */
int store_template_list(struct store *s, struct strv *ret, struct mvm_error *err);

/* Read template.json.  -ENOENT "no template '...'", -EBADMSG when the file is damaged. */
int store_spec_load(struct store *s, const char *id, struct mvm_template_spec *ret,
		    struct mvm_error *err);

/* Create or replace template.json, atomically.  The caller holds the template's lock. */
int store_spec_save(struct store *s, const struct mvm_template_spec *spec, struct mvm_error *err);

/*
 * Find the revision of "ID" (its current one) or "ID@REV".  REV may be the beginning of a
 * revision's name: at least 4 characters, and unambiguous.
 *
 * Errors: -EINVAL (no valid name, or ambiguous), -ENOENT.
 */
int store_template_resolve(struct store *s, const char *name, char ret_id[MVM_TEMPLATE_ID_SIZE],
			   char ret_revision[MVM_REVISION_SIZE], struct mvm_error *err);

/* ---- The current revision ---- */

/* Point `current` at an existing revision. */
int store_current_set(struct store *s, const char *id, const char *revision, struct mvm_error *err);

/* Read `current`.  Accepts both forms of the link: artifacts/<rev> and, from other programs,
 * revisions/<rev>.  -ENOENT when nothing was built yet, -EBADMSG for any other form. */
int store_current_get(struct store *s, const char *id, char ret[MVM_REVISION_SIZE],
		      struct mvm_error *err);

/* store_current_get() and a check: -EBADMSG when the revision is missing. */
int store_current_find(struct store *s, const char *id, char ret[MVM_REVISION_SIZE],
		       struct mvm_error *err);

/* ---- Revisions ---- */

/* The names of a template's revisions, sorted. */
int store_revision_list(struct store *s, const char *id, struct strv *ret, struct mvm_error *err);

/* Open the revision's folder.  Its files stay as long as the descriptor is open, also when the
 * revision is replaced meanwhile.  Returns a descriptor to close; -ENOENT. */
int store_revision_open(struct store *s, const char *id, const char *revision,
			struct mvm_error *err);

/* Open a revision's folder and read revision.json.  ret_dir_fd: the folder, to close; may be NULL.
 * -EBADMSG if damaged. */
int store_revision_load(struct store *s, const char *id, const char *revision,
			struct mvm_template_revision *ret, int *ret_dir_fd, struct mvm_error *err);

/* Write revision.json into a staging folder. */
int store_revision_save(int dir_fd, const struct mvm_template_revision *rev, struct mvm_error *err);

/* Stage a revision again: hard links to its files.  The caller makes revision.json, checksums.json
 * and the snapshot folder anew; `verified` (store/trust.h) is left out.  -EEXIST as
 * store_revision_publish(). */
int store_stage_revision(struct store *s, const char *id, const char *revision, struct staging *ret,
			 struct mvm_error *err);

/*
 * Move a staging folder into place as a revision; the caller holds the template's lock.
 *
 * The rename is the commit point.  Every byte and name is on disk before it, and the rename is on
 * disk when the function returns.  If the revision exists, both folders are exchanged and
 * staging_done() removes the old one.  Returns 1 if the revision is new, 0 if it was replaced.
 * Errors: -EEXIST when the old folder has a file that mvm did not make (store_revision_is_pure),
 * -EOPNOTSUPP when the file system cannot exchange folders, -ENOSPC and others.
 */
int store_revision_publish(struct store *s, struct staging *st, const char *id,
			   const char *revision, struct mvm_error *err);

/* ---- Removing ---- */

/*
 * Remove a template with all its revisions.  The caller holds its lock and the claim on it.
 *
 * One rename into staging is the commit point.  -ENOENT when the template does not exist; -EEXIST
 * when its folder has something that mvm did not make: then everything stays.
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
 * Each add is a rename into staging; then the revision is gone for everybody.  The commit is one
 * fsync for all; then a crash does not bring them back.  removal_done() removes the files; a later
 * sweep removes those that somebody still reads.
 */
struct removal {
	int dir_fd;
	struct store *store; /* borrowed; must be open until removal_done() */
	struct strv staged;  /* in tmp/ */
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
	bool has_revision;	    /* not in lists that other programs or an older mvm wrote */
	struct mvm_digest revision; /* of revision.json */
};
void checksums_done(struct checksums *c);
DEFINE_AUTO_DONE(checksums, checksums_done)

/*
 * The SHA-256 of every file below dir_fd except checksums.json, and apart from them that of
 * revision.json, if it is there.
 *
 *   known    digests that are known already, by path ("rootfs.ext4"); may be NULL
 *   step     told how far it is, and may stop it: -ECANCELED; may be NULL
 */
int store_checksums_make(int dir_fd, const struct mvm_artifact *known, size_t n_known,
			 struct progress_step *step, struct checksums *ret, struct mvm_error *err);

/* store_checksums_make(), written to checksums.json. */
int store_checksums_write(int dir_fd, const char *id, const char *revision,
			  const struct mvm_artifact *known, size_t n_known,
			  struct progress_step *step, struct mvm_error *err);

/* Read checksums.json.  Its paths are untrusted: compare them, never open them.
 * -ENOENT when it is missing, -EBADMSG when it is damaged. */
int store_checksums_read(int dir_fd, struct checksums *ret, struct mvm_error *err);

/* Is revision.json the file that checksums.json was written with?  -EBADMSG if not; 0 also when the
 * list does not say. */
int store_checksums_hold_revision(int dir_fd, const struct checksums *c, struct mvm_error *err);

/* The recorded digest of a path, or NULL. */
const struct mvm_digest *checksums_find(const struct checksums *c, const char *path);

/* The paths of the files that checksums.json must list, sorted: all except itself and
 * revision.json. 0 or -errno. */
int store_revision_files(int dir_fd, struct strv *ret);

/* Does this folder have only the files of a revision?  They are listed in checksums.json; if that
 * cannot be read, they have the usual names.  1, 0 or -errno. */
int store_revision_is_pure(int dir_fd);

/*
 * Compare every file of a revision's folder with checksums.json.
 *
 *   step  gets the progress and can stop the check; may be NULL
 *
 * Returns 0.  Errors: -EBADMSG naming the first file that differs, is missing, or is there without
 * being listed; -ECANCELED; -ENOMEM.
 */
int store_revision_verify(int dir_fd, struct progress_step *step, struct mvm_error *err);

#endif
