/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ATTACK_H
#define TESTS_ATTACK_H

/* What attack.c tries: attack_list.c has the list. */

#include <stdbool.h>
#include <stddef.h>

struct attempt {
	const char *name;
	bool (*works)(void); /* NULL: the system call is refused or not */
	long nr;
	long args[5];
};
extern const struct attempt attempts[];
extern const size_t n_attempts;

/* Remember the targets, which the environment names. */
void attack_prepare(void);

#endif
