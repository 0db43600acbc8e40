/* SPDX-License-Identifier: Apache-2.0 */
/* mvm-supervisor: the starter of an instance runs this program with its descriptors in place. */
#include <sys/prctl.h>
#include <sys/stat.h>

#include "supervisor/supervise.h"

int main(void)
{
	struct supervisor_given given = {
		.boot_ms = 120000, /* TCG on a busy host is slow */
		.boot_max_ms = 600000,
		.restart_pause_ms = 1000,
		.freeze_ms = 20000,
		.suspend_again_ms = 10000,
		.health_interval_min_ms = 1000,
		.umask = umask(077),
		.apart = true,
	};
	/* no process of this user may trace this one, above all not a VMM that a guest has broken
	 * into */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	for (int fd = SUPERVISOR_FD_FIRST; fd < SUPERVISOR_FD_END; fd++)
		given.fd[fd] = fd;
	return supervise(&given);
}
