/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SCRIPTED_VMM_H
#define TESTS_SCRIPTED_VMM_H

/*
 * A backend whose every step waits for the test.
 *
 * Its "VMM" is a child process that carries bytes between the agent channel and a socket that the
 * test has.  So the test plays the agent, kill(2) is a VMM that dies, and a test that closes its
 * socket is a guest that powers off.  A test that shuts its socket down for writing is a guest
 * whose agent hangs up; the VMM runs on until it is killed.
 *
 * Both talk over one stream socket, scripted_vmm_fd in the supervisor.  Each op sends its letter
 * (enum vmm_step), for VMM_STEP_SPAWN with the test's end of the new channel and then the pid, and
 * is over when the test has answered with VMM_STEP_DONE or VMM_STEP_FAIL, or when the VMM has
 * ended.
 */

#include "vmm/vmm.h"

enum vmm_step {
	VMM_STEP_SPAWN = 's',
	VMM_STEP_BOOT = 'b',
	VMM_STEP_RESTORE = 'l',
	VMM_STEP_PAUSE = 'p',
	VMM_STEP_RESUME = 'r',
	VMM_STEP_CAPTURE = 'c',
	VMM_STEP_DONE = '+',
	VMM_STEP_FAIL = '-',
};

extern const struct vmm_ops scripted_vmm;
extern int scripted_vmm_fd;

/* Set it before the supervisor starts: the end of a VMM is no news until the test answers with
 * VMM_STEP_DONE, as if the kernel took its time for the kill. */
extern bool scripted_vmm_holds_end;

#endif
