/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SCRIPTED_VMM_H
#define TESTS_SCRIPTED_VMM_H

/*
 * A backend whose steps wait for the test.
 *
 * Its "VMM" is a child process that carries bytes between the agent channel and a socket of the
 * test. So the test plays the agent, and kill(2) makes the VMM die.  A test that closes its socket
 * is a guest that powers off.  A test that shuts its socket down for writing is a guest whose agent
 * hangs up; the VMM runs on until it is killed.
 *
 * Backend and test talk over one stream socket, scripted_vmm_fd in the supervisor.  Each op sends
 * its letter (enum vmm_step); VMM_STEP_SPAWN also sends the test's end of the new channel and then
 * the pid.  The op ends when the test answers with VMM_STEP_DONE or VMM_STEP_FAIL, or when the VMM
 * ends.
 */

#include "vmm/vmm.h"

enum vmm_step {
	VMM_STEP_SPAWN = 's',
	VMM_STEP_BOOT = 'b',
	VMM_STEP_RESTORE = 'l',
	VMM_STEP_PAUSE = 'p',
	VMM_STEP_RESUME = 'r',
	VMM_STEP_CAPTURE = 'c',
	VMM_STEP_SAVE = 'd',
	VMM_STEP_DONE = '+',
	VMM_STEP_FAIL = '-',
};

extern const struct vmm_ops scripted_vmm;
extern int scripted_vmm_fd;

/* Set this before the supervisor starts.  The supervisor then learns of a VMM's end only when the
 * test answers with VMM_STEP_DONE, as if the kernel took its time for the kill. */
extern bool scripted_vmm_holds_end;

/* Set this before the supervisor starts.  The test then gets the VMM's end of the console, too,
 * after the pid, and must close it. */
extern bool scripted_vmm_gives_console;

/* Set this before the supervisor starts.  No state can then be saved: this errno; 0: it can. */
extern int scripted_vmm_save_fails;

#endif
