/* SPDX-License-Identifier: Apache-2.0 */
/* mvm-pull: goes on with a pull whose VMs run already; mvm starts it, see template/lazy.h. */
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "template/lazy.h"

int main(int argc, char **argv)
{
	int kind = 0;
	socklen_t len = sizeof(kind);

	(void)argv;
	if (argc != 1 || getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &kind, &len) < 0 ||
	    kind != SOCK_SEQPACKET) {
		fprintf(stderr, "mvm-pull: a helper of mvm, which starts it\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	return background_pull(STDIN_FILENO);
}
