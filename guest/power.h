/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_POWER_H
#define GUEST_POWER_H

/* The end of the machine. */

#include "agent.h"

/* Begin to shut down: ask the workload, or the image's init, to end, and kill it if it has not
 * ended after grace_ms (0: a default). */
void power_shutdown(struct agent *a, uint64_t grace_ms);

/* Continue a shutdown that waited for the end of the workload. */
void power_workload_ended(struct agent *a);

/* Kill all processes, write everything to disk, end the VM.  Does not return. */
_Noreturn void power_off(struct agent *a);

#endif
