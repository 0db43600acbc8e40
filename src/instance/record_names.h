/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_RECORD_NAMES_H
#define INSTANCE_RECORD_NAMES_H

/* How instance.json spells what has names, by the values of the enums. */

#include "instance/record.h"

extern const char *const record_state_names[RECORD_FAILED + 1];
extern const char *const record_health_names[RECORD_HEALTH_UNHEALTHY + 1];
extern const char *const record_start_names[2]; /* by record.restore */
extern const char *const record_memory_names[RECORD_MEMORY_REFLINK + 1];
extern const char *const record_copy_names[2]; /* by record.data_disk_reflinked */
extern const char *const record_restart_names[RECORD_RESTART_UNLESS_STOPPED + 1];
extern const char *const record_purpose_names[RECORD_FOR_POOL + 1];

#endif
