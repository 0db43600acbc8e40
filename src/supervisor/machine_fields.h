/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_MACHINE_FIELDS_H
#define SUPERVISOR_MACHINE_FIELDS_H

/* The fields of a machine's calls to the guest's agent (net/agent.h). */

#include "supervisor/machine.h"

/* Add an identity that no other clone has, and the time.  Sets m->machine_id. */
void machine_put_identity(struct machine *m, const struct mvm_run *run, struct strbuf *args);

/* Add HOLD if the workload must wait, and NO_WORKLOAD if it is left out. */
void machine_put_start(const struct machine *m, struct strbuf *args);

/* Add the workload's environment: the template's, overridden by this start's. */
void machine_put_env(const struct machine *m, const struct mvm_run *run, struct strbuf *args);

/* Add the workload: command, environment, folder, user, and the action after a restore. */
void machine_put_workload(const struct machine *m, const struct mvm_run *run, struct strbuf *args);

/* Add the arguments of CALL_HEALTH for a template's check.  The agent makes the attempts. */
void machine_put_health(const struct mvm_health *health, uint64_t interval_ms, uint64_t timeout_ms,
			struct strbuf *args);

#endif
