/* SPDX-License-Identifier: Apache-2.0 */
/* mvm-net CONFIGURATION: the network of one VM, started by its supervisor; see usernet.h. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "usernet/usernet.h"

#define GUEST_FD   3
#define CONTROL_FD 4
#define ROUTE_FD   5

int main(int argc, char **argv)
{
	static struct usernet_config config;
	struct mvm_error err = { 0 };
	if (argc != 2) {
		fprintf(stderr, "mvm-net: a helper of mvm, which starts it\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN); /* libslirp writes to sockets that are shut down */
	int r = usernet_config_read(argv[1], strlen(argv[1]), &config, &err);
	if (r == 0)
		r = usernet_run(&config, GUEST_FD, CONTROL_FD, ROUTE_FD, &err);
	if (r < 0)
		fprintf(stderr, "mvm-net: %s\n", err.text);
	return r < 0 ? 1 : 0;
}
