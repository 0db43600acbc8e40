/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_START_H
#define START_START_H

/*
 * Decide how a revision starts on this host, and start it.  `run`, `info` and the capture of
 * snapshots share this, so they come to the same decision.
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
	int lease_fd;  /* -1: no lease is needed, because nobody else can remove it */
	int source_fd; /* of one that is still being pulled (base/lazy_map.h); else -1 */
	struct mvm_template_revision rev;
	struct checksums sums;
	struct strv artifacts;		   /* "vmlinux=<hex>"..., from checksums.json */
	char *vmstate_sha256, *mem_sha256; /* from checksums.json; NULL without a snapshot */
	char *disk_sha256[OWN_DISKS];	   /* the snapshot's disks; NULL without such a disk */
	bool snapshot_foreign; /* made elsewhere, and no key that is trusted has signed it */
};
#define REVISION_NONE                                                                              \
	{                                                                                          \
		.dir_fd = -1, .lease_fd = -1, .source_fd = -1                                      \
	}
void revision_done(struct revision *r);
DEFINE_AUTO_DONE(revision, revision_done)

/* Resolve "ID[@REVISION]", take a lease on the revision, open and read it. */
int revision_open(struct mvm *mvm, const char *ref, struct revision *ret, struct mvm_error *err);

/*
 * Have revision_open() find a revision that is still being pulled, until mvm_close().
 *
 *   dir_fd     of mvm-lazy, which shows only parts of files that were compared with their digests
 *   source_fd  of base/lazy_map.h
 *
 * Both are taken over, also on failure.  Takes a lease on the revision.
 */
int revision_arrives(struct mvm *mvm, const char *id, const char *hash, int dir_fd, int source_fd,
		     struct mvm_error *err);

/* Open and read a revision without a lease.  This writes nothing, and the revision may be removed
 * at any time. */
int revision_look(struct mvm *mvm, const char *id, const char *hash, struct revision *ret,
		  struct mvm_error *err);

/* Read the revision in a folder.  dir_fd is borrowed; id is copied. */
int revision_read(int dir_fd, const char *id, struct revision *ret, struct mvm_error *err);

/*
 * Check a revision's files against checksums.json (store/trust.h).  Called before every start.
 *
 *   all  read every file, the snapshot's too
 *
 * Returns 0, or -EBADMSG (revision-damaged), -ECANCELED, -errno.
 */
int revision_trust(struct mvm *mvm, const struct revision *revision, bool all,
		   const struct mvm_progress *progress, struct mvm_error *err);

/* Check that the guest has mvm's agent.  -EOPNOTSUPP when the template boots the image's own
 * initrd; the text begins with "it", and the caller adds the template's name in front. */
int need_agent(const struct mvm_run *run, struct mvm_error *err);

struct start_request {
	const struct mvm *mvm; /* remembers which files are sound; NULL: remember nothing */
	const struct revision *revision;
	const struct vmm_ops *ops;
	const struct vmm_probe *probe;
	/* the user's options, never NULL: start_decide() uses kind, machine and variables, and
	 * start_record() copies the options that the instance keeps */
	const struct mvm_start_options *options;
	enum record_purpose purpose;
	int capture_fd; /* RECORD_FOR_CAPTURE: the folder to capture into */
	/* the ended instance that starts again, with its rules for the network and its disks;
	 * NULL: a new one */
	const struct record *again;
	/* the saved state that the start continues.  SUSPENDED: of the instance in `again`.  FORK:
	 * of the record in `origin`, in the folder saved_fd */
	enum record_continues continues;
	const struct record *origin;
	int saved_fd;
	const struct mvm_progress *progress; /* of a check that reads disks; may be NULL */
};

/* Options for mvm's own VMs: the template's settings, and the VM ends with its handle. */
extern const struct mvm_start_options start_for_ourselves;

/*
 * Check a caller's options, as far as no template is needed for that.
 *
 * Returns 0; -EINVAL with the member that is wrong; -EOPNOTSUPP when reserved room is not 0.
 */
int start_options_check(const struct mvm_start_options *o, struct mvm_error *err);

/* Is the instance to be suspended when a time is over? */
bool start_wants_suspend(const struct mvm_start_options *o);

struct start_plan {
	bool restore;
	bool own_image; /* its root is the snapshot's image, not the revision's */
	char *reason;	/* why not a restore; NULL for a restore and for a requested cold start */
	char *cmdline;
	unsigned vcpus;
	uint32_t mem_mib;
	uint32_t disk_mib[OWN_DISKS];
	struct strv facts; /* of this host and config (start/facts.h) */
};
void start_plan_done(struct start_plan *p);
DEFINE_AUTO_DONE(start_plan, start_plan_done)

/*
 * Decide between restore and boot.
 *
 * Errors: -EBADMSG when the snapshot's files are damaged: mvm never ignores damage.  -EINVAL for a
 * machine that cannot be built.  Cost: hashes the device state (about 300 KiB).  The memory file is
 * hashed only if its identity has changed.
 */
int start_decide(const struct start_request *q, struct start_plan *ret, struct mvm_error *err);

/* Fill in the record, which tells the supervisor everything that the revision does not. */
int start_record(const struct start_request *q, const struct start_plan *plan, struct record *ret,
		 struct mvm_error *err);

/* Start an instance as planned.  start_begin() and start_finish() are its two halves, with which
 * several instances start at once.  progress: its cancel_fd counts, also for later calls of the
 * instance; may be NULL.  start_finish() leaves nothing of one that is cancelled; start_wait()
 * leaves that to the caller. */
int start_begin(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
		struct mvm_instance **ret, struct mvm_error *err);
int start_wait(struct mvm *mvm, struct mvm_instance *i, struct mvm_error *err);
int start_finish(struct mvm *mvm, struct mvm_instance *i, const struct mvm_progress *progress,
		 struct mvm_error *err);
int start_instance(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
		   const struct mvm_progress *progress, struct mvm_instance **ret,
		   struct mvm_error *err);

/* Hang up on an instance whose end has begun and whose name nobody knows yet, so that it removes
 * itself.  Only mvm_instance_close() may follow. */
void start_remove(struct mvm *mvm, struct mvm_instance *i);

/* Start an ended instance again, with options that match its record. progress: one that
 * progress_take() has filled. err: not NULL.  The rest as mvm_instance_start_again(). */
int start_again(struct mvm *mvm, const struct record *again,
		const struct mvm_start_options *options, const struct mvm_progress *progress,
		struct mvm_instance **ret, struct mvm_error *err);

/* Continue a suspended instance, as start_again() does; start n forks of a running one.  The
 * options are those of its record.  If a VM cannot be continued, neither boots it instead. */
int start_suspended(struct mvm *mvm, const struct record *record,
		    const struct mvm_start_options *options, const struct mvm_progress *progress,
		    struct mvm_instance **ret, struct mvm_error *err);
int start_forks(struct mvm *mvm, const struct record *origin, int saved_fd,
		const struct mvm_start_options *options, uint32_t n,
		const struct mvm_progress *progress, struct mvm_instance **ret,
		struct mvm_error *err);

/* Wait until the VM has ended, as mvm_instance_wait() does.  timeout_ms negative: for ever. */
int instance_wait(struct mvm_instance *i, int64_t timeout_ms, int *ret_status,
		  struct mvm_error *err);

/* Once per boot of the host: mark the instances that ended with the last boot, and add a note. */
int settle_after_boot(struct mvm *mvm, const struct mvm_progress *progress);

#endif
