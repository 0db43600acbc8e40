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

#define INSTANCE_LOCK_NAME "lock"

/* A connection to a supervisor, and the instance's folder. */
struct mvm_instance {
	char *name;
	struct control control;
};
void instance_close(struct mvm_instance *i);
static inline void auto_ptr_mvm_instance(struct mvm_instance **p)
{
	instance_close(*p);
}

struct instance_launch {
	struct record *record; /* state STARTING, everything known filled in; name may be NULL: one
				* is made from the template's id and stored here */
	int revision_fd;       /* the revision's folder */
	int lease_fd;	       /* -1: none is needed */
	int cache_fd;	       /* for probe results */
	int data_disk_fd;      /* the disk to copy; -1: it has none */
	int capture_fd;	       /* -1 unless it is to be captured */
	int logs_fd;	       /* folder of events; -1: none */
};

/*
 * Create the instance's folder, start its supervisor and wait until the guest is up.
 *
 * The descriptors stay the caller's.  On failure the folder is removed again.  Errors: -EEXIST,
 * -EADDRINUSE, and what the supervisor reports.
 */
int instance_launch(int instances_fd, const struct instance_launch *launch,
		    struct mvm_instance **ret, struct mvm_error *err);

/* Connect to a running instance's supervisor. */
int instance_connect(int instances_fd, const char *name, struct mvm_instance **ret,
		     struct mvm_error *err);

/* Load a record and correct its state when the supervisor has been killed.  ret_dir_fd may be
 * NULL. */
int instance_load(int instances_fd, const char *name, struct record *ret, int *ret_dir_fd,
		  struct mvm_error *err);

#define HOST_BOOT_ID_SIZE 40
void host_boot_id(char ret[HOST_BOOT_ID_SIZE]); /* "" when it cannot be read */

/* Why an instance that was not ended properly does not run any more.  Static. */
const char *instance_lost_reason(const struct record *r);

/*
 * If an instance was left behind, by a supervisor that was killed or a host that went down, say so
 * in its record and remove what only a running one has; one that was to be removed at its end is.
 *
 * Returns 1 with ret_why (static) if it was one, 0 if not.
 */
int instance_settle(int instances_fd, const char *name, int logs_fd, const char **ret_why,
		    struct mvm_error *err);

/* Remove the folder of an instance that does not run.  -EBUSY when it does. */
int instance_remove(int instances_fd, const char *name, struct mvm_error *err);

/* Stop a running instance and wait until its VMM and supervisor are gone. */
int instance_stop(int instances_fd, const char *name, int64_t timeout_ms, struct mvm_error *err);

/* See mvm_instance_logs(). */
int instance_logs(int instances_fd, const char *name, const struct mvm_logs_options *options,
		  struct mvm_error *err);

#endif
