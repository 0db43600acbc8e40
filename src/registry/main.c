/* SPDX-License-Identifier: Apache-2.0 */
/* mvm-registry: fetches images for mvm, which starts it; see registry.h. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/nobody.h"
#include "registry/registry.h"

/* Give up all rights that an HTTP client does not need; confine.h takes the rest.  Bytes from the
 * network are never read with root's rights. */
static void shed_rights(pid_t parent)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	int r = nobody_become();
	if (r < 0)
		fprintf(stderr, "mvm-registry: cannot become nobody: %s\n", strerror(-r));
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* the change of uid has cleared it */
	if (getppid() != parent)
		_exit(1);
}

int main(int argc, char **argv)
{
	struct mvm_error err = { 0 };
	int kind = 0;
	socklen_t len = sizeof(kind);

	(void)argv;
	if (argc != 1 || getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &kind, &len) < 0 ||
	    kind != SOCK_SEQPACKET) {
		fprintf(stderr, "mvm-registry: a helper of mvm, which starts it\n");
		return 2;
	}
	shed_rights(getppid());
	int r = registry_serve(STDIN_FILENO, &err);
	if (r < 0)
		fprintf(stderr, "mvm-registry: %s\n", err.text);
	return r < 0 ? 1 : 0;
}
