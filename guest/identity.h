/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_IDENTITY_H
#define GUEST_IDENTITY_H

/* What makes this machine another one than its twins. */

#include <stdbool.h>

#include <mvm/error.h>

#include "request.h"

/* Is this a name that a host may have?  Letters, digits, '-' and '.', 1 to 64. */
bool identity_hostname_ok(const char *name);

/* 32 lower-case hex digits, as machine-id(5) has it. */
bool identity_machine_id_ok(const char *id);

/*
 * Take over what a request brings: entropy (and reseed), clock, hostname, machine-id, generation
 * file, in this order, so that nothing random is made before the entropy is in.
 * Returns 0 or -errno with a sentence.
 */
int identity_apply(const struct request *q, struct mvm_error *err);

/* Give a clone a boot id of its own: a fresh one is mounted over the kernel's, or put in the
 * place of the one that an earlier call has mounted (again). */
int identity_new_boot_id(bool again, struct mvm_error *err);

#endif
