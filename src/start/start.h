/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_START_H
#define START_START_H

/*
 * How a revision would be started here, and starting it.  `run`, `info` and the making of
 * snapshots share this, so that all of them come to the same decision.
 */

#include "model/template.h"
#include <mvm/instance.h>

#include "instance/instance.h"
#include "start/context.h"
#include "store/revision.h"

/* An open revision, published or still in staging. */
struct revision {
	char *id, *hash;
	int dir_fd;
	int lease_fd; /* -1: nobody can take it away */
	struct mvm_template_revision rev;
	struct checksums sums;
	struct strv artifacts;		   /* "vmlinux=<hex>"..., from checksums.json */
	char *vmstate_sha256, *mem_sha256; /* likewise; NULL without a snapshot */
	char *data_sha256;		   /* the snapshot's data disk; NULL without one */
};
#define REVISION_NONE                                                                              \
	{                                                                                          \
		.dir_fd = -1, .lease_fd = -1                                                       \
	}
void revision_done(struct revision *r);
DEFINE_AUTO_DONE(revision, revision_done)

/* Resolve "ID[@REVISION]", take a lease, open and read it. */
int revision_open(struct mvm *mvm, const char *ref, struct revision *ret, struct mvm_error *err);

/* The same without a lease, to look at: nothing is written, and it may go at any time. */
int revision_look(struct mvm *mvm, const char *id, const char *hash, struct revision *ret,
		  struct mvm_error *err);

/* Read what a folder holds.  dir_fd is borrowed; id is copied. */
int revision_read(int dir_fd, const char *id, struct revision *ret, struct mvm_error *err);

/*
 * Are its files what checksums.json says (store/trust.h)?  Called before every start.
 *
 *   all  read every file, the snapshot's too
 *
 * Returns 0, or -EBADMSG (revision-damaged), -ECANCELED, -errno.
 */
int revision_trust(struct mvm *mvm, const struct revision *revision, bool all,
		   const struct mvm_progress *progress, struct mvm_error *err);

/* What is to be done takes mvm's agent in the guest.  0, or -EOPNOTSUPP when it boots its image's
 * own initrd; the sentence begins with "it", for the caller to say what. */
int need_agent(const struct mvm_run *run, struct mvm_error *err);

struct start_request {
	const struct mvm *mvm; /* remembers which files are sound; NULL: nothing is remembered */
	const struct revision *revision;
	const struct vmm_ops *ops;
	const struct vmm_probe *probe;
	/* what the user wants, never NULL: kind, machine and variables count for the decision, and
	 * start_record() copies what the instance is to keep */
	const struct mvm_start_options *options;
	enum record_purpose purpose;
	int capture_fd; /* RECORD_FOR_CAPTURE: the folder to capture into */
};

/* For VMs that no user asked for: as the template says, and gone with the handle. */
extern const struct mvm_start_options start_for_ourselves;

struct start_plan {
	bool restore;
	char *reason; /* why not restored; NULL if it is, or if a cold start was asked for */
	char *cmdline;
	unsigned vcpus;
	uint32_t mem_mib;
	struct strv facts; /* of this host and config (start/facts.h) */
};
void start_plan_done(struct start_plan *p);
DEFINE_AUTO_DONE(start_plan, start_plan_done)

/*
 * Decide between restore and boot.
 *
 * Errors: -EBADMSG when the snapshot's files are damaged, which is never passed over in silence;
 * -EINVAL for a machine that cannot be built.  Cost: reads the device state (about 300 KiB) for its
 * digest; the memory file is only looked at, unless its identity has changed.
 */
int start_decide(const struct start_request *q, struct start_plan *ret, struct mvm_error *err);

/* Everything that the supervisor has to know beyond the revision. */
int start_record(const struct start_request *q, const struct start_plan *plan, struct record *ret,
		 struct mvm_error *err);

/* Start an instance as planned; in two halves, so that several can start at once.  progress: its
 * cancel_fd counts, also for later calls of the instance; may be NULL. */
int start_begin(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
		struct mvm_instance **ret, struct mvm_error *err);
int start_wait(struct mvm *mvm, struct mvm_instance *i, struct mvm_error *err);
int start_instance(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
		   const struct mvm_progress *progress, struct mvm_instance **ret,
		   struct mvm_error *err);

/* Wait until the VM has ended; as mvm_instance_wait(), timeout_ms negative: for ever. */
int instance_wait(struct mvm_instance *i, int64_t timeout_ms, int *ret_status,
		  struct mvm_error *err);

/* Once per boot of the host: look for instances that went down with it, and say so. */
int settle_after_boot(struct mvm *mvm, const struct mvm_progress *progress);

#endif
