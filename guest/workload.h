/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_WORKLOAD_H
#define GUEST_WORKLOAD_H

/*
 * The guest's purpose: its command, or an init.
 *
 * With a command, the agent stays PID 1 and the command is its child in the cgroup "workload".
 * Without one, or with one that is an init (init.h), the init becomes PID 1 in the cgroup
 * "init.scope", and the agent lives on as a child of it, in a cgroup and session of its own.
 */

#include "agent.h"
#include "request.h"

/*
 * Prepare the guest for the workload: /run, the network's settings, its working folder.
 * Called in the guest's root, once, before the identity.
 */
int workload_prepare(const struct request *q, struct mvm_error *err);

/*
 * Start it, and watch children from now on.  For an init of the image, this returns in a
 * different process from the caller's.
 *
 * Returns 0, or -errno with a sentence (the program cannot be executed).
 */
int workload_start(struct agent *a, struct mvm_error *err);

/* Kill a command's processes, frozen ones too, and wait until they are gone.  Reports nothing. */
int workload_kill(struct agent *a, struct mvm_error *err);

/* Signal the command's first process, or the image's own init.  -ESRCH: it has ended, or does not
 * exist. */
int workload_signal(const struct agent *a, int signal);

/* CALL_AWAIT: answered when the command has ended. */
void workload_await(struct agent *a, uint32_t id);

#endif
