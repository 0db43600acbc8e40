/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_MACHINE_FIELDS_H
#define SUPERVISOR_MACHINE_FIELDS_H

/* What a machine tells the guest's agent: fields of its calls (net/agent.h). */

#include "supervisor/machine.h"

/* Add what tells one clone from the others, and the time.  Sets m->machine_id. */
void machine_put_identity(struct machine *m, const struct mvm_run *run, struct strbuf *args);

/* Add HOLD if the workload must wait, and NO_WORKLOAD if it is left out. */
void machine_put_start(const struct machine *m, struct strbuf *args);

/* Add the workload's environment: the template's, overridden by this start's. */
void machine_put_env(const struct machine *m, const struct mvm_run *run, struct strbuf *args);

/* Add the workload: command, environment, folder, user, and what follows a restore. */
void machine_put_workload(const struct machine *m, const struct mvm_run *run, struct strbuf *args);

/* Add the arguments of CALL_HEALTH for a template's check.  The agent makes the attempts. */
void machine_put_health(const struct mvm_health *health, uint64_t interval_ms, uint64_t timeout_ms,
			struct strbuf *args);

#endif
