/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_PROCESS_H
#define SERVICE_E2B_PROCESS_H

#include <jansson.h>
#include <mvm/error.h>
#include <stdint.h>

/* The pid of a call's selector. */
int process_pid(const json_t *message, int64_t *ret, struct mvm_error *err);

/* A terminal's "rows" or "cols"; 0: not given. */
uint16_t process_size(const json_t *pty, const char *key);

#endif
