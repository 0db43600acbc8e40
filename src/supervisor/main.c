/* SPDX-License-Identifier: Apache-2.0 */
/* mvm-supervisor: whoever starts an instance starts this program with the descriptors in place. */
#include <sys/prctl.h>
#include <sys/stat.h>

#include "supervisor/supervise.h"

int main(void)
{
	struct supervisor_given given = {
		.restart_pause_ms = 1000,
		.health_interval_min_ms = 1000,
		.umask = umask(077),
	};
	/* no process of this user may look into it, a VMM that is broken into among them */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	for (int fd = SUPERVISOR_FD_FIRST; fd < SUPERVISOR_FD_END; fd++)
		given.fd[fd] = fd;
	return supervise(&given);
}
