/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_PULL_FILES_H
#define TEMPLATE_PULL_FILES_H

/* Fetches an artifact's files from a registry: only the chunks that no local revision has. */

#include "pull/pull.h"
#include "template/artifact.h"

struct pull_files {
	struct mvm *mvm;
	struct pull *pull;
	const char *id; /* of the template, whose revisions are looked at first */
	int dir_fd;	/* the folder of the artifact's documents */
	const struct mvm_progress *progress;
};

/*
 * As `fill` of struct artifact_receive; arg: a struct pull_files.
 *
 * What was fetched stays for another try, until pull_ranges_drop().  A registry that sends no
 * parts of blobs sends them whole.
 */
int pull_files(void *arg, const struct artifact *a, const int *fds,
	       struct mvm_artifact_result *result, struct mvm_error *err);

#endif
