/* SPDX-License-Identifier: Apache-2.0 */

/* mvm-agent: /init of the initramfs that mvm makes.  See agent.h. */

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"
#include "power.h"
#include "rehearse.h"
#include "serve.h"

/* Set the limits on open files that systemd, and docker with it, sets: the soft limit keeps
 * select(2) safe, and a program may raise it.  Without root, the kernel's own 4096 could not be
 * raised. */
static void set_limits(void)
{
	const struct rlimit files = { .rlim_cur = 1024, .rlim_max = 524288 };
	setrlimit(RLIMIT_NOFILE, &files); /* cannot fail for PID 1 */
}

int main(int argc, char **argv)
{
	struct mvm_error err = { 0 };
	static char program[] = "/proc/self/exe"; /* the initramfs that it came in is gone */
	struct agent agent;

	if (argc == 2 && strcmp(argv[1], REHEARSE_ARGUMENT) == 0)
		return 0;
	if (getpid() != 1) {
		fprintf(stderr, "mvm-agent " MVM_VERSION ": the first process of an mvm "
				"guest; it does nothing elsewhere\n");
		return 2;
	}
	umask(022); /* always succeeds */
	set_limits();
	int r = agent_init(&agent, -1);
	if (r == 0) {
		agent.argv0 = argv[0];
		agent.program = program;
		r = boot(&agent, &err);
	}
	if (r == 0) {
		r = agent_serve(&agent);
		agent_log("the connection to the host has ended: %s", strerror(-r));
	} else {
		agent_log("%s", err.text[0] ? err.text : strerror(-r));
	}
	power_off(&agent);
}
