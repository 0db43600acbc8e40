/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_INSTANCE_H
#define INSTANCE_INSTANCE_H

/*
 * Instances as folders: instances/<name>/ with instance.json, console.log, control.sock, and a
 * file "lock" that the supervisor holds for as long as it lives.  An instance whose record says
 * that it runs, but whose lock is free, has lost its supervisor.
 *
 * Functions take instances_fd, the open folder of all instances.
 */

#include <mvm/instance.h>

#include "instance/control.h"
#include "instance/record.h"

#define INSTANCE_LOCK_NAME   "lock"
#define INSTANCE_SOCKET_NAME "control.sock"
#define INSTANCE_WANTED_NAME "wanted.json" /* the record of a start that takes a VM of a pool */
#define INSTANCE_RENAME_NAME                                                                       \
	"new-name" /* the new name that a command has chosen for a running instance */
#define INSTANCE_NAME_BYTES 64u

/* A connection to a supervisor, and the instance's folder. */
struct mvm_instance {
	char *name;
	char *start_json; /* its record after the start; NULL: this handle did not start it */
	struct control control;
};
void instance_close(struct mvm_instance *i);
/* Keep the instance's record from the supervisor's answer to a start, if the answer has one. */
void instance_keep_start(struct mvm_instance *i, const struct strbuf *reply);
static inline void auto_ptr_mvm_instance(struct mvm_instance **p)
{
	instance_close(*p);
}

struct instance_launch {
	/* State STARTING, everything known filled in.  The name may be NULL: then one is made from
	 * the template's id and stored here. */
	struct record *record;
	/* An instance that has ended, to be started again with its name, its folder and its
	 * disks; NULL: the instance is new. */
	const struct record *again;
	int revision_fd;	 /* the revision's folder */
	int lease_fd;		 /* -1: no lease needed */
	int cache_fd;		 /* for probe results */
	int disk_fds[OWN_DISKS]; /* the disks to copy; -1: none */
	int capture_fd;		 /* folder for the snapshot to capture; -1: none */
	int logs_fd;		 /* folder of events; -1: none */
	int source_fd;		 /* of a revision that is still being pulled; -1: none */
	const struct mvm_progress *progress; /* of a check that reads disks; may be NULL */
};

/*
 * Start an instance in two steps, so that several starts can be under way at once: begin creates
 * the folder and starts the supervisor; wait returns when the guest is up.
 *
 * The caller keeps its descriptors.  A begin that fails leaves nothing.  A start that fails later
 * leaves the instance as failed, with its logs, unless it is attached or has remove_at_end; then
 * the caller only closes the handle.  Errors: -EEXIST, -EADDRINUSE, -ECANCELED (it was stopped
 * before it was up; or by the control's cancel_fd, which leaves it starting), and those of the
 * supervisor.
 */
int instance_launch_begin(int instances_fd, const struct instance_launch *launch,
			  struct mvm_instance **ret, struct mvm_error *err);
int instance_launch_wait(int instances_fd, struct mvm_instance *i, int logs_fd,
			 struct mvm_error *err);

/*
 * Turn a waiting VM of a pool into an instance, instead of launching one.
 *
 *   waiting       its name in the pool
 *   record        as in struct instance_launch, its name filled in
 *   nonce_sha256  of the snapshot that it must have been restored from
 *   began_ns      when the start began; its stages count from there
 *   deadline_ns   give up on a VM that needs longer
 *
 * Errors: -ENOENT, -ECONNREFUSED and others when the VM is gone; -ESTALE when it does not match the
 * record; those of the supervisor.  After any error the waiting VM is lost.
 */
int instance_adopt(int instances_fd, const char *waiting, const struct record *record,
		   const char *nonce_sha256, int64_t began_ns, int64_t deadline_ns,
		   struct mvm_instance **ret, struct mvm_error *err);

/* Check that the ports can be bound, before the VMM fails on them.  Port 0 becomes a free port. */
int instance_check_ports(struct record *record, struct mvm_error *err);

/* Give a record without a name "<template>-<random>". */
int instance_make_name(struct record *record, struct mvm_error *err);

/*
 * Connect to a running instance's supervisor.
 *
 *   progress  its receiver stops the wait for one that ends at this moment, and all calls of this
 *             connection; borrowed for as long; may be NULL
 */
int instance_connect(int instances_fd, const char *name, const struct mvm_progress *progress,
		     struct mvm_instance **ret, struct mvm_error *err);

/* Load a record and correct its state when the supervisor has been killed.  ret_dir_fd may be
 * NULL. */
int instance_load(int instances_fd, const char *name, struct record *ret, int *ret_dir_fd,
		  struct mvm_error *err);

#define HOST_BOOT_ID_SIZE 40
void host_boot_id(char ret[HOST_BOOT_ID_SIZE]); /* "" when it cannot be read */

/* Does the folder of an instance that has lost its supervisor have a whole suspended state? */
bool instance_was_suspended(int dir_fd, const struct record *r);

/* Note in a record that its instance did not end properly: why it no longer runs, and which volumes
 * did not come back.  Returns 0 or -ENOMEM. */
int instance_note_lost(struct record *r);

/*
 * Settle an instance that a killed supervisor or a host that went down left behind: note it in the
 * record and remove the files of a running instance.  An instance with remove_at_end is removed,
 * and one whose starter is gone.  A folder with an instance's name but without a record about it is
 * left alone.
 *
 * Returns 0; INSTANCE_LOST with ret_why (the caller's); INSTANCE_STRAY; or -errno with a sentence.
 */
enum instance_settled { INSTANCE_LOST = 1, INSTANCE_STRAY };
int instance_settle(int instances_fd, const char *name, int logs_fd, char **ret_why,
		    struct mvm_error *err);

/* As instance_settle(), by the process that started the instance and reports the failure: a
 * detached one stays, for its logs. */
int instance_settle_start(int instances_fd, const char *name, int logs_fd);

/*
 * Remove an instance's folder.
 *
 *   force  end the VM first, whatever its state; otherwise a VM that has not ended is -EBUSY
 *   named  the user named the instance: remove everything in its folder.  Otherwise the folder
 *          stays when its record is damaged ("instance-damaged") or when it has foreign files
 *          (-ENOTEMPTY)
 *   progress  its receiver stops the wait for the VM's end; may be NULL
 *
 * -ENOENT when it does not exist, was removed meanwhile, or the folder is a copy of another's;
 * -EOPNOTSUPP when a newer mvm wrote its record.
 */
int instance_remove(int instances_fd, const char *name, bool force, bool named,
		    const struct mvm_progress *progress, struct mvm_error *err);

/* See mvm_instance_rename(). */
int instance_rename(int instances_fd, const char *name, const char *to, int logs_fd,
		    const struct mvm_progress *progress, struct mvm_error *err);

/* The user knows the instance now: a detached instance goes on by itself from now on. */
void instance_keep(struct mvm_instance *i);

/* End an instance at once, also during its start, which then fails. */
void instance_cut_short(struct mvm_instance *i);

/* Wait until an instance that was cut short has ended, or has not within KILL_GRACE_MS. */
void instance_await_end(struct mvm_instance *i);

/* Stop a running instance and wait until its VMM and supervisor are gone.  progress: may be
 * NULL. */
int instance_stop(int instances_fd, const char *name, int64_t timeout_ms,
		  const struct mvm_progress *progress, struct mvm_error *err);

/* struct mvm_logs_options in internal form: plain descriptors, negative for none. */
struct logs_options {
	bool console, workload, timestamps;
	int64_t tail; /* negative: all */
	const char *since;
	bool follow;
	int cancel_fd, out_fd; /* -1: none */
	bool visible;
	mvm_log_fn fn;
	void *arg;
};

/* See mvm_instance_logs(). */
int instance_logs(int instances_fd, const char *name, const struct logs_options *options,
		  struct mvm_error *err);

#endif
