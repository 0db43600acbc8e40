/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_PULL_FILES_H
#define TEMPLATE_PULL_FILES_H

/* Fetches an artifact's files from a registry: only the chunks that no local revision has. */

#include "artifact/assembly.h"
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

/*
 * The steps of that, for template/lazy_fill.c.  ranges_fd: of pull_ranges_open().
 *
 *   take    what is here: in local revisions, and in what an earlier pull has fetched
 *   fetch   what is missing and not put off
 *   check   compare the snapshot's files with their digests.  Those of the image are hashed as they
 *           become blobs
 */
int pull_files_take(const struct pull_files *p, struct assembly *a, int ranges_fd,
		    struct mvm_artifact_result *result, struct mvm_error *err);
int pull_files_fetch(const struct pull_files *p, struct assembly *a, int ranges_fd,
		     struct mvm_artifact_result *result, struct mvm_error *err);
int pull_files_check(const struct pull_files *p, const struct assembly *a, struct mvm_error *err);

#endif
