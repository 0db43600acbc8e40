/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_HANDOVER_H
#define INSTANCE_HANDOVER_H

/* The descriptors that mvm-supervisor is started with.  All are open; one that an instance does not
 * need is /dev/null. */
enum supervisor_fd {
	SUPERVISOR_FD_FIRST = 3,
	SUPERVISOR_FD_LEASH = 3, /* connected socket; the other end belongs to the starter */
	SUPERVISOR_FD_INSTANCE,	 /* the instance's folder */
	SUPERVISOR_FD_LOCK,	 /* holds the instance's lock for as long as we live */
	SUPERVISOR_FD_REVISION,	 /* the revision's folder */
	SUPERVISOR_FD_LEASE,	 /* holds the lease on the revision for as long as we live */
	SUPERVISOR_FD_CACHE,	 /* folder of cached probe results */
	SUPERVISOR_FD_CAPTURE,	 /* folder that a snapshot is captured into */
	SUPERVISOR_FD_LOGS,	 /* folder that events are recorded in */
	SUPERVISOR_FD_LISTEN,	 /* listens on control.sock */
	SUPERVISOR_FD_SOURCE,	 /* tells how the pull of the revision ends (base/lazy_map.h) */
	SUPERVISOR_FD_END,
};

/* Stream of the answer to "start", on the leash. */
#define LEASH_START_STREAM 1u

#define SUPERVISOR_PROGRAM "mvm-supervisor"

#endif
