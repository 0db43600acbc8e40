/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTRACT_FAKE_H
#define TESTS_CONTRACT_FAKE_H

/*
 * A backend without a machine, for tests: its "VM" is a child process (this program, started with
 * FAKE_GUEST_ARG) that answers the lines of the contract guest.  Its memory is the memory file,
 * mapped as a real one would be, so that captures, clones and states that are kept behave.
 */

#include "vmm/vmm.h"

#define FAKE_GUEST_ARG "--fake-guest"

extern const struct vmm_ops vmm_fake;

/* The op that fails next, by its name in struct vmm_ops; NULL: none. */
extern const char *fake_fail_at;

/* The VM's body, for the ops that keep its state. */
struct vmm_body *fake_body(struct vmm *v);

/* The child's main function. */
_Noreturn void fake_guest_main(int argc, char **argv);

#endif
