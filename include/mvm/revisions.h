/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_REVISIONS_H
#define MVM_REVISIONS_H

/* The revisions of templates: history, rollback, comparison, verification and clean-up. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/template.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- History ---- */

struct mvm_revision_summary {
	char *revision;
	bool current;
	bool in_use;	  /* a VM runs from it or is being started from it */
	int64_t built_at; /* 0 if unknown */
	uint8_t vcpus;
	uint32_t mem_mib;
	uint64_t rootfs_bytes;
	uint64_t disk_bytes; /* disk use of its files, shared ones included */
	bool has_snapshot;
	int64_t snapshot_at;
	uint64_t snapshot_mem_bytes; /* apparent size */
	char *problem;		     /* why revision.json cannot be read, or NULL */
};
MVM_API void mvm_revision_summary_free(struct mvm_revision_summary *summary);

/* The revisions of a template, newest first, damaged ones with their problem;
 * mvm_revision_list_free() the list.  Reads one small file for each and looks at its files for
 * their size.  Errors: -ENOENT, -EINVAL (no valid id). */
MVM_API int mvm_template_history(struct mvm *mvm, const char *id,
				 struct mvm_revision_summary ***ret, size_t *ret_n,
				 struct mvm_error *err);
MVM_API void mvm_revision_list_free(struct mvm_revision_summary **list, size_t n);

/*
 * Make another revision the current one.
 *
 *   revision  its name, or the beginning of it; NULL: the revision built before the current one
 *   progress  of the check of its files; may be NULL
 *   ret_from  the revision that was current, "" if none was
 *   ret_to    the revision that is current now
 *
 * All files of the revision are checked first: a damaged revision never becomes current.  The spec
 * does not change, so the next build uses it as before.
 * Returns 1, or 0 when the revision was current already.
 * Errors: -ENOENT (no such revision, or no earlier one), -EBADMSG naming the damaged file,
 * -ECANCELED (the current revision is as before).
 */
MVM_API int mvm_template_rollback(struct mvm *mvm, const char *id, const char *revision,
				  const struct mvm_progress *progress,
				  char ret_from[MVM_REVISION_SIZE], char ret_to[MVM_REVISION_SIZE],
				  struct mvm_error *err);

/* ---- Differences ---- */

struct mvm_diff_artifact {
	char *name;	 /* of the file, "rootfs.ext4" */
	char *from, *to; /* hex SHA-256, NULL where it is missing */
	uint64_t from_bytes, to_bytes;
};

struct mvm_diff_setting {
	char *key;	 /* "run.network" */
	char *from, *to; /* JSON, compact; NULL where it is not set */
};

struct mvm_template_diff {
	char from_id[MVM_TEMPLATE_ID_SIZE], from_revision[MVM_REVISION_SIZE];
	char to_id[MVM_TEMPLATE_ID_SIZE], to_revision[MVM_REVISION_SIZE];
	struct mvm_diff_artifact **artifacts; /* those that differ, by name */
	size_t n_artifacts;
	struct mvm_diff_setting **settings; /* those that differ, in the order of revision.json */
	size_t n_settings;
};
MVM_API void mvm_template_diff_free(struct mvm_template_diff *diff); /* NULL is fine */

/*
 * Compare two revisions: their files by digest and size, and their revision.json.
 *
 *   from, to  "ID" (its current revision) or "ID@REVISION"; may be of different templates
 *   progress  of reading files; may be NULL
 *
 * The comparison leaves out the names of the revisions, their build times, the sizes of the files,
 * and the snapshot's requirements (`compat`).  It reads the files only of a revision without
 * checksums.json.
 * Errors: -ENOENT, -EBADMSG, each naming the reference; -ECANCELED.
 */
MVM_API int mvm_template_diff(struct mvm *mvm, const char *from, const char *to,
			      const struct mvm_progress *progress, struct mvm_template_diff **ret,
			      struct mvm_error *err);

/* ---- Verify ---- */

struct mvm_verify_problem {
	char *template_id;
	char *revision; /* NULL: about the template itself */
	char *file;	/* NULL: about more than one file */
	char *text;
};

struct mvm_verify_result {
	size_t n_templates, n_revisions, n_files;
	uint64_t bytes; /* read; files shared between revisions are read once */
	struct mvm_verify_problem **problems;
	size_t n_problems;
};
MVM_API void mvm_verify_result_free(struct mvm_verify_result *result); /* NULL is fine */

/*
 * Check every file against checksums.json.  Check that specs, revisions and `current` can be read.
 * This reads all files, each once, and changes nothing.
 *
 *   ref  "ID@REVISION", "ID" (all its revisions) or NULL (all templates)
 *   ret  mvm_verify_result_free() it.  With -EBADMSG it has all problems; any other failure gives
 *        NULL
 *
 * Errors: -EBADMSG about the first problem; -ENOENT; -ECANCELED.
 */
MVM_API int mvm_template_verify(struct mvm *mvm, const char *ref,
				const struct mvm_progress *progress, struct mvm_verify_result **ret,
				struct mvm_error *err);

/* ---- Prune ---- */

#define MVM_PRUNE_KEEP 3u

struct mvm_prune_options {
	size_t size;	/* MVM_PRUNE_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *id; /* only this template's revisions; NULL: all templates */
	/* how many of each template's newest revisions always stay; NULL: MVM_PRUNE_KEEP */
	const uint32_t *keep;
	int64_t older_than_s; /* only revisions older than this; 0: of any age */
	bool dry_run;	      /* change nothing, report what would go */
	/* remove only as many, the oldest first, as it takes until the revisions together have at
	 * most this many bytes on disk; 0: all that may go */
	uint64_t max_bytes;
};
#define MVM_PRUNE_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_prune_options)

struct mvm_pruned_revision {
	const char *template_id;
	const char *revision;
	int64_t built_at;    /* 0 if unknown */
	uint64_t disk_bytes; /* of its own files; a shared file counts when its last user goes */
};

/* The revision is valid during the call. */
typedef void (*mvm_pruned_fn)(void *arg, const struct mvm_pruned_revision *revision);

struct mvm_prune_result {
	size_t size;	      /* MVM_PRUNE_RESULT_INIT sets it (mvm/struct.h) */
	size_t n_revisions;   /* removed, or to be removed */
	size_t n_in_use;      /* kept only because VMs run from them */
	size_t n_cached;      /* entries of the build cache that nothing used any longer */
	size_t n_blobs;	      /* files that nothing named any longer */
	uint64_t freed_bytes; /* in total */
};
#define MVM_PRUNE_RESULT_INIT MVM_STRUCT_INIT(struct mvm_prune_result)

/*
 * Remove old revisions, then the cache entries and blobs that nothing needs any longer.
 *
 * A revision stays if it is current, among the newest `keep`, in use by a VM, or written by a newer
 * mvm.  A revision whose folder has foreign files stays too, with a note.  A template that is
 * locked, or whose `current` leads nowhere, is skipped with a note; it is an error for the template
 * that options->id names.
 *
 *   options   borrowed; NULL: all defaults.  If more than max_bytes stay, a note says so
 *   fn        called for every revision that goes, or would go; may be NULL
 *   progress  may be NULL
 *   ret       what was removed, also when the call failed half-way; may be NULL
 *
 * Errors: -ENOENT and -EBUSY (locked) for options->id; -ECANCELED and others.  After a crash each
 * revision is whole or gone, and the next prune removes what the crash has left.
 * Memory does not grow with the number of revisions, except with max_bytes.  One fsync covers all
 * revisions of a template.
 */
MVM_API int mvm_template_prune(struct mvm *mvm, const struct mvm_prune_options *options,
			       mvm_pruned_fn fn, void *arg, const struct mvm_progress *progress,
			       struct mvm_prune_result *ret, struct mvm_error *err);

#endif
