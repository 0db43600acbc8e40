/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_WHEN_H
#define CLI_WHEN_H

#include <stdint.h>

#define WHEN_SIZE 32

/* A time as people read it in tables and as JSON has it, RFC 3339 UTC; "-" for 0. */
void when_text(int64_t unix_seconds, char ret[WHEN_SIZE]);

#endif
