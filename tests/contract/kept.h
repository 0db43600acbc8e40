/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTRACT_KEPT_H
#define TESTS_CONTRACT_KEPT_H

/* Tests of the ops that keep a clone's state, and continue it. */

void a_suspended_clone_goes_on_in_another_vmm(void **state);
void forks_go_on_beside_their_origin(void **state);
void damaged_pages_are_refused_and_leave_nothing(void **state);

#endif
