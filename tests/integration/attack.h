/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ATTACK_H
#define TESTS_ATTACK_H

/* What attack.c tries: attack_files.c, attack_network.c and attack_list.c have the list. */

#include <stdbool.h>
#include <stddef.h>

struct attempt {
	const char *name;
	bool (*works)(void); /* NULL: the system call is refused or not */
	long nr;
	long args[5];
};
extern const struct attempt attack_files[], attack_sockets[], attack_calls[];
extern const size_t n_attack_files, n_attack_sockets, n_attack_calls;

/* One of the targets, "ATTACK_HOME" for example.  "/nowhere" without it. */
const char *attack_target(const char *name);

/* Remember the targets, which the environment names. */
void attack_prepare(void);

/* Send text to the test, which listens. */
void attack_answer(const char *text, size_t len);

#endif
