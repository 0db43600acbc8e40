/* SPDX-License-Identifier: Apache-2.0 */
/* How a machine ended. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "net/agent.h"
#include "supervisor/machine.h"

int machine_check_end(const struct machine *m, struct mvm_error *err)
{
	const char *panic = panic_watch_text(&m->console.panic);
	char killer[WHY_KILLED_SIZE];
	int status = m->exit_status;

	if (WIFSIGNALED(status) && source_error(m->source_fd, err) < 0)
		return -EIO;
	if (WIFSIGNALED(status)) {
		warden_why_killed(m->warden, WTERMSIG(status), killer);
		return mvm_error_set(err, -EREMOTEIO, "the VMM was killed by signal %d%s",
				     WTERMSIG(status), killer);
	}
	if (WEXITSTATUS(status) != 0)
		return mvm_error_set(err, -EREMOTEIO, "the VMM ended with status %d",
				     WEXITSTATUS(status));
	if (panic)
		return mvm_error_set(err, -EREMOTEIO, "the guest's kernel panicked: %s", panic);
	if (!m->vmm || !m->vmm->guest_stopped)
		return mvm_error_set(err, -EREMOTEIO, "the VMM was told to end by somebody else");
	if (m->vmm->guest_reset && !m->console.panic.orderly)
		return mvm_error_set(err, -EREMOTEIO, "the guest reset itself without a shutdown");
	return 0;
}

int machine_explain_kill(const struct machine *m, int r, struct mvm_error *err)
{
	char why[WHY_KILLED_SIZE];

	if (r >= 0 || !m->ended || !WIFSIGNALED(m->exit_status) ||
	    WTERMSIG(m->exit_status) != SIGBUS)
		return r;
	warden_why_killed(m->warden, SIGBUS, why);
	return mvm_error_more(err, r, "%s", why);
}

bool machine_lacked_timer(const struct machine *m)
{
	const char *panic = panic_watch_text(&m->console.panic);
	char says[64];
	/* Source: Linux kernel/exit.c, do_exit(); the code is one of wait(2) */
	snprintf(says, sizeof(says), "Attempted to kill init! exitcode=0x%08x",
		 AGENT_EXIT_NO_TIMER << 8);
	return panic && strcmp(panic, says) == 0;
}
