/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the network of a VM and runs a program in it that plays the VMM:
 *
 *	netns_host [HOST_PORT:GUEST_PORT[/udp]]... -- PROGRAM ARG...
 *
 * Ends, and the program with it, when standard input does.  Says "ready" on standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "vmm/netns/netns.h"

#define FORWARDS_MAX 8

static void on_input(void *arg, uint32_t events)
{
	(void)events;
	*(bool *)arg = true;
}

static int fail(const struct mvm_error *err)
{
	fprintf(stderr, "netns_host: %s\n", err->text);
	return 1;
}

/* Serve it until standard input ends. */
static int serve(struct loop *loop)
{
	AUTO(loop_source) source = NULL;
	bool over = false;
	if (loop_add_fd(loop, STDIN_FILENO, EPOLLIN, on_input, &over, &source) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	while (!over && loop_run_once(loop, DEADLINE_NONE) == 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	struct vmm_forward forwards[FORWARDS_MAX] = { 0 };
	struct mvm_error err = { 0 };
	size_t n = 0;
	int i = 1;
	for (; i < argc && strcmp(argv[i], "--") != 0 && n < FORWARDS_MAX; i++, n++) {
		unsigned host = 0, guest = 0;
		if (sscanf(argv[i], "%u:%u", &host, &guest) != 2)
			return 2;
		forwards[n].host_port = (uint16_t)host;
		forwards[n].guest_port = (uint16_t)guest;
		forwards[n].udp = strstr(argv[i], "/udp");
		snprintf(forwards[n].host_address, sizeof(forwards[n].host_address), "127.0.0.1");
	}
	if (i + 1 >= argc)
		return 2;
	AUTO(loop) loop = NULL;
	AUTO(netns) netns = NULL;
	AUTO_DONE(process) vmm = { 0 };
	if (loop_new(&loop) < 0)
		return 1;
	int64_t began = clock_now_ns();
	if (netns_new(loop, forwards, n, (uid_t)-1, &netns, &err) < 0)
		return fail(&err);
	fprintf(stderr, "made in %lld us\n", (long long)(clock_now_ns() - began) / 1000);
	struct process_spec spec = {
		.argv = argv + i + 1,
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = STDERR_FILENO,
		.stderr_fd = STDERR_FILENO,
		.flags = PROCESS_DIE_WITH_PARENT,
	};
	int r = netns_spawn(netns, &spec, &vmm);
	if (r < 0) {
		fprintf(stderr, "netns_host: %s: %s\n", spec.argv[0], strerror(-r));
		return 1;
	}
	return serve(loop);
}
