/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_SUPERVISE_H
#define INSTANCE_SUPERVISE_H

/* What the parts of mvm-supervisor share: supervisor.c runs an instance's life, bringup.c starts
 * its machine, confine.c limits it. */

#include <mvm/template.h>

#include "base/loop.h"
#include "instance/clients.h"
#include "instance/clocksync.h"
#include "instance/healthwatch.h"
#include "instance/machine.h"
#include "instance/record.h"
#include "instance/supervisor.h"

struct supervisor {
	struct loop *loop;
	struct record record;
	struct mvm_template_revision revision;
	struct machine machine;
	struct clients clients;
	struct healthwatch health;
	struct clocksync clock;
	struct loop_source *signal_source, *ttl_timer, *restart_timer;
	int signal_fd;
	bool started; /* the guest is up; the leash has its answer */
	bool leash_gone;
	bool stopping;	     /* to end by a signal, its time to live, or without its leash */
	bool stopped;	     /* ended because we wanted it to */
	bool expired;	     /* because of its time to live */
	bool restart_due;    /* the pause before it is over */
	unsigned failures;   /* in a row: each makes the pause before the next start longer */
	int64_t up_since_ns; /* of the last start */
	struct job *waiting; /* STOP and WAIT calls, answered at the end */
};

/* Spawn the VMM and bring the guest up as the record says.  After a failure machine_free. */
int bring_up(struct supervisor *s, struct mvm_error *err);

/*
 * Put the VMM into a cgroup of its own with limits somewhat above the machine's size, if this
 * process has a cgroup v2 delegated to it; note path and limits in the record.
 *
 * Otherwise nothing happens: the limits are a second fence around a machine whose size the VMM
 * keeps by itself.  The host's memory pressure then has one more name to account to.
 * Source: cgroups(7), systemd's CGROUP_DELEGATION.md.
 */
void confine(struct record *r);

/* Remove that cgroup, empty by now.  NULL is fine. */
void confine_end(const char *cgroup);

#endif
