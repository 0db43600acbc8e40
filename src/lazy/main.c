/* SPDX-License-Identifier: Apache-2.0 */
/* mvm-lazy: serves a revision that is still being pulled; mvm-pull starts it, see lazy.h. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lazy/lazy.h"

int main(int argc, char **argv)
{
	struct mvm_error err = { 0 };
	int kind = 0;
	socklen_t len = sizeof(kind);

	(void)argv;
	if (argc != 1 || getsockopt(LAZY_FD_CONTROL, SOL_SOCKET, SO_TYPE, &kind, &len) < 0 ||
	    kind != SOCK_SEQPACKET) {
		fprintf(stderr, "mvm-lazy: a helper of mvm-pull, which starts it\n");
		return 2;
	}
	int r = lazy_serve(&err);
	if (r < 0)
		fprintf(stderr, "mvm-lazy: %s\n", err.text);
	return r < 0 ? 1 : 0;
}
