/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_CAPTURE_H
#define TEMPLATE_CAPTURE_H

/*
 * A snapshot in the making: the revision staged anew, and in it what has been captured so far.
 * snapshot.c runs the guests, this is about the files.
 */

#include <mvm/build.h>

#include "codec/sha256.h"
#include "start/start.h"
#include "store/revision.h"

struct capture {
	struct mvm *mvm;
	const struct mvm_progress *progress;
	const struct vmm_ops *ops;
	const struct vmm_probe *probe;
	struct revision *revision; /* as published */
	struct start_plan plan;	   /* of its cold boot */
	struct staging staging;	   /* the revision anew */
	int snapshot_fd;	   /* its folder "snapshot" */
	char nonce_sha256[DIGEST_HEX_SIZE];
	char *memory_identity; /* of mem.bin */
	struct mvm_build_result *result;
	bool not_loaded; /* the test's VMM refused it: another capture may do better */
};
#define CAPTURE_NONE                                                                               \
	{                                                                                          \
		.staging = STAGING_NONE, .snapshot_fd = -1                                         \
	}
void capture_done(struct capture *c);
DEFINE_AUTO_DONE(capture, capture_done)

/* Add a step to the result: what it is called there, when it began, what it has left on disk. */
void capture_step(struct capture *c, const char *name, int64_t began_ns, uint64_t bytes);

/* Make mem.bin sparse and durable; its identity and sizes are known afterwards. */
int capture_finish_memory(struct capture *c, struct mvm_error *err);

/* Write revision.json, with the SnapshotInfo, and checksums.json. */
int capture_write_metadata(struct capture *c, struct mvm_error *err);

/*
 * Write the staged revision's checksums.json; what from_fd's says is not computed again, so that
 * damage is still found.
 *
 *   from_fd        the folder of the revision as published, or the staged one itself
 *   with_snapshot  what it says of a snapshot's files holds, too
 */
int capture_checksums(int from_fd, bool with_snapshot, int staged_fd,
		      const struct revision *revision, struct mvm_error *err);

/* Write the working set of the clone whose VMM this is, and put it into checksums.json. */
int capture_add_working_set(struct capture *c, pid_t vmm_pid, uint64_t *ret_bytes,
			    struct mvm_error *err);

#endif
