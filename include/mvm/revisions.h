/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_REVISIONS_H
#define MVM_REVISIONS_H

/* The revisions of templates: look back, go back, compare, check and clean up. */

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
	bool in_use;	  /* a VM runs from it, or it is being started */
	int64_t built_at; /* 0 if unknown */
	uint8_t vcpus;
	uint32_t mem_mib;
	uint64_t rootfs_bytes;
	uint64_t disk_bytes; /* what its files take, shared ones included */
	bool has_snapshot;
	int64_t snapshot_at;
	uint64_t snapshot_mem_bytes; /* apparent size */
	char *problem;		     /* why revision.json cannot be read, or NULL */
};
MVM_API void mvm_revision_summary_free(struct mvm_revision_summary *summary);

/* The revisions of a template, newest first; mvm_revision_list_free() the list. */
MVM_API int mvm_template_history(struct mvm *mvm, const char *id,
				 struct mvm_revision_summary ***ret, size_t *ret_n,
				 struct mvm_error *err);
MVM_API void mvm_revision_list_free(struct mvm_revision_summary **list, size_t n);

/*
 * Make another revision the current one.
 *
 *   revision  or the beginning of its name; NULL: the one built before the current one
 *   progress  the check of its files; may be NULL
 *   ret_from  what was current, "" if nothing was
 *   ret_to    what is current now
 *
 * All files of the revision are checked first: a damaged one never becomes current.  The spec
 * stays as it is, so the next build makes a revision from that.
 * Returns 1, or 0 when it was current already.
 * Errors: -ENOENT (no such revision, or none before), -EBADMSG naming the damaged file.
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
 * Compare two revisions: files by digest and size, and what revision.json says.
 *
 *   from, to  "ID" (its current revision) or "ID@REVISION"; may be of different templates
 *
 * Left out are the names of the revisions, when they were built, sizes that the files have
 * anyway, and what a snapshot depends on (`compat`).  Reads the files only of a revision without
 * checksums.json.
 * Errors: -ENOENT, -EBADMSG, each naming the reference.
 */
MVM_API int mvm_template_diff(struct mvm *mvm, const char *from, const char *to,
			      struct mvm_template_diff **ret, struct mvm_error *err);

/* ---- Verify ---- */

struct mvm_verify_problem {
	char *template_id;
	char *revision; /* NULL: about the template itself */
	char *file;	/* NULL: about more than one file */
	char *text;
};

struct mvm_verify_result {
	size_t n_templates, n_revisions, n_files;
	uint64_t bytes; /* that were read; files shared between revisions are read once */
	struct mvm_verify_problem **problems;
	size_t n_problems;
};
MVM_API void mvm_verify_result_free(struct mvm_verify_result *result); /* NULL is fine */

/*
 * Check every file against checksums.json, and that specs, revisions and `current` can be read.
 *
 *   ref  "ID@REVISION", "ID" (all its revisions) or NULL (all templates)
 *   ret  mvm_verify_result_free() it.  A call that fails with -EBADMSG gives all problems; one that
 *        fails otherwise gives NULL
 *
 * Errors: -EBADMSG about the first problem; -ENOENT.
 */
MVM_API int mvm_template_verify(struct mvm *mvm, const char *ref,
				const struct mvm_progress *progress, struct mvm_verify_result **ret,
				struct mvm_error *err);

/* ---- Prune ---- */

#define MVM_PRUNE_KEEP 3u

struct mvm_prune_options {
	size_t size;	/* MVM_PRUNE_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *id; /* only this template's revisions; NULL: all templates */
	/* so many of each template's newest revisions stay in any case; NULL: MVM_PRUNE_KEEP */
	const uint32_t *keep;
	int64_t older_than_s; /* only what was built longer ago; 0: whatever its age */
	bool dry_run;	      /* change nothing, say what would go */
};
#define MVM_PRUNE_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_prune_options)

struct mvm_pruned_revision {
	const char *template_id;
	const char *revision;
	int64_t built_at;    /* 0 if unknown */
	uint64_t disk_bytes; /* of its own; what it shares counts when the last user goes */
};

/* The revision is lent for the call. */
typedef void (*mvm_pruned_fn)(void *arg, const struct mvm_pruned_revision *revision);

struct mvm_prune_result {
	size_t size;	      /* MVM_PRUNE_RESULT_INIT sets it (mvm/struct.h) */
	size_t n_revisions;   /* that went, or would go */
	size_t n_in_use;      /* would have gone but for the VMs that run from them */
	size_t n_cached;      /* entries of the build cache that nothing uses any longer */
	size_t n_blobs;	      /* files that nothing names any longer */
	uint64_t freed_bytes; /* in all */
};
#define MVM_PRUNE_RESULT_INIT MVM_STRUCT_INIT(struct mvm_prune_result)

/*
 * Remove old revisions, and then what nothing needs any longer.
 *
 * A revision stays while it is current, among the newest `keep`, or a VM runs from it; so does one
 * that a newer mvm wrote, and, with a note, one whose folder has files that are not of a revision.
 * Templates that somebody else has locked are left for the next time, and
 * those whose `current` leads nowhere until that is mended, each with a note; for the one template
 * that is named, that is an error.
 *
 *   options   borrowed
 *   fn        hears of every revision that goes, or would go; may be NULL
 *   progress  may be NULL
 *   ret       what went, also when the call failed half-way; may be NULL
 *
 * Memory does not grow with the number of revisions; a template's are removed with one fsync.
 */
MVM_API int mvm_template_prune(struct mvm *mvm, const struct mvm_prune_options *options,
			       mvm_pruned_fn fn, void *arg, const struct mvm_progress *progress,
			       struct mvm_prune_result *ret, struct mvm_error *err);

#endif
