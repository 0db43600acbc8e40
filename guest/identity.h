/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_IDENTITY_H
#define GUEST_IDENTITY_H

/* The identity that distinguishes this machine from its twins. */

#include <stdbool.h>

#include <mvm/error.h>

#include "request.h"

/* Is this a valid host name?  Letters, digits, '-' and '.', 1 to 64. */
bool identity_hostname_ok(const char *name);

/* 32 lower-case hex digits, as machine-id(5) has it. */
bool identity_machine_id_ok(const char *id);
bool identity_boot_id_ok(const char *id); /* a lower-case UUID */

/*
 * Apply a request's identity: entropy (and reseed), clock, hostname, machine-id, generation
 * file, in this order, so that nothing random is made before the entropy is in.
 * Returns 0 or -errno with a sentence.
 */
int identity_apply(const struct request *q, struct mvm_error *err);

/* Its steps, for clones: */

/* Add entropy through an open /dev/random, credit it, and reseed. */
int identity_add_entropy(int random_fd, const uint8_t *data, size_t len, struct mvm_error *err);
int identity_set_clock(uint64_t wall_ns, struct mvm_error *err);
/* The kernel's hostname, no file. */
int identity_set_hostname(const char *name, struct mvm_error *err);

#endif
