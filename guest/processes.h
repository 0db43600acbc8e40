/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_PROCESSES_H
#define GUEST_PROCESSES_H

/* The guest's processes, which the host can list and signal. */

#include "agent.h"
#include "request.h"

/* CALL_PROCESSES: list all processes but the kernel's, as many as fit into an answer. */
void processes_list(struct agent *a, uint32_t id);

/* CALL_SIGNAL: signal the workload's first process, or the image's init. */
void processes_signal(struct agent *a, uint32_t id, const struct request *q);

#endif
