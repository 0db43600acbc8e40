/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_PUBLISH_H
#define TEMPLATE_PUBLISH_H

/* Artifacts become a template's revision: its name, its files, `current`. */

#include <mvm/build.h>

#include "build/build.h"
#include "start/context.h"

/* Compute the name of the revision that a spec and artifacts give. */
int publish_hash(const struct mvm_template_spec *spec, const struct build_artifacts *a,
		 char ret[MVM_REVISION_HASH_SIZE], struct mvm_error *err);

/* Can this revision be run?  Otherwise it is to be published again. */
bool publish_has(struct mvm *mvm, const char *id, const char *hash);

enum publish_flags {
	PUBLISH_MEND = 1u << 0,	    /* look for damage that `verify` would find, and mend it */
	PUBLISH_TEMPLATE = 1u << 1, /* the template does not exist yet: make it from the spec */
};

#define PUBLISH_SNAPSHOT_FILES 8u

/* A snapshot that comes with its revision. */
struct publish_snapshot {
	int dir_fd; /* a staging folder with the folder "snapshot", which moves into the revision */
	const struct mvm_snapshot_info *info;
	const struct mvm_artifact *files; /* "snapshot/mem.bin" and so on, with their digests */
	size_t n_files;			  /* at most PUBLISH_SNAPSHOT_FILES */
};

/*
 * Write what a revision with a snapshot will have beside its artifacts: revision.json,
 * checksums.json, fc-base.json and the empty data disk.  Artifacts become empty files.
 *
 *   snapshot  its dir_fd is not used
 *   dir_fd    an empty folder in staging
 */
int publish_view(struct mvm *mvm, const struct mvm_template_spec *spec,
		 const struct build_artifacts *a, const struct publish_snapshot *snapshot,
		 const char *hash, int dir_fd, struct mvm_error *err);

/*
 * Publish result->revision unless it exists, and make it current.
 *
 *   snapshot  publish the revision with this snapshot, even if it exists; NULL: none
 *   flags     enum publish_flags
 *   result    new_revision is set
 *
 * The caller holds the template's lock.  -ENOENT when a prune has collected an artifact.
 */
int publish_revision(struct mvm *mvm, const struct mvm_template_spec *spec,
		     const struct build_artifacts *a, const struct publish_snapshot *snapshot,
		     unsigned flags, const struct mvm_progress *progress,
		     struct mvm_build_result *result, struct mvm_error *err);

#endif
