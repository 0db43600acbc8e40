/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_CAPTURE_H
#define TEMPLATE_CAPTURE_H

/*
 * The files of a snapshot in the making: the revision staged again, with the captured files in it.
 * snapshot.c runs the guests.
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
	struct staging staging;	   /* the revision, staged again */
	int snapshot_fd;	   /* the staged folder "snapshot" */
	char nonce_sha256[DIGEST_HEX_SIZE];
	char *memory_identity; /* of mem.bin */
	struct mvm_build_result *result;
	const struct capture_source *from; /* NULL: a VM is booted for it */
	bool not_loaded; /* the VMM of the test refused it: another capture may load */
};
#define CAPTURE_NONE                                                                               \
	{                                                                                          \
		.staging = STAGING_NONE, .snapshot_fd = -1                                         \
	}
void capture_done(struct capture *c);
DEFINE_AUTO_DONE(capture, capture_done)

/* Add a step to the result: its name, its start, and the bytes that it wrote to disk. */
void capture_step(struct capture *c, const char *name, int64_t began_ns, uint64_t bytes);

/* A VM that runs, whose memory becomes a snapshot. */
struct capture_source {
	int saved_fd;		     /* struct fork_state's */
	const struct revision *base; /* that it was restored from */
	bool own_image;		     /* its root is the image of the base's snapshot */
};

/* Write the snapshot's files: the base's memory with the VM's own pages, its device state, its
 * disks, and its root image.  The plan is decided. */
int capture_from_running(struct capture *c, const struct capture_source *from,
			 struct mvm_error *err);

/* Make mem.bin sparse and durable, and record its identity and sizes. */
int capture_finish_memory(struct capture *c, struct mvm_error *err);

/* Write revision.json, with the SnapshotInfo, and checksums.json. */
int capture_write_metadata(struct capture *c, struct progress_step *step, struct mvm_error *err);

/*
 * Write the staged revision's checksums.json.  It keeps the sums of from_fd's checksums.json
 * instead of computing them again, so a later check still finds damage.
 *
 *   from_fd        the folder of the published revision, or the staged folder itself
 *   with_snapshot  keep the sums of the snapshot's files, too
 *   step           told how far it is; may be NULL
 */
int capture_checksums(int from_fd, bool with_snapshot, int staged_fd,
		      const struct revision *revision, struct progress_step *step,
		      struct mvm_error *err);

/* Write the working set of the clone that this VMM runs, and add it to checksums.json. */
int capture_add_working_set(struct capture *c, pid_t vmm_pid, uint64_t *ret_bytes,
			    struct mvm_error *err);

#endif
