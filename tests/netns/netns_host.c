/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a VM's network and runs a program in it that acts as the VMM:
 *
 *	netns_host [HOST_PORT:GUEST_PORT[/udp]]... [+RULE|-RULE]... [held] -- PROGRAM ARG...
 *
 * +RULE allows and -RULE denies; "held" holds everything back until other rules.  A line "+RULE
 * -RULE" on standard input replaces the rules; the answer is "rules".  "quiet" holds everything
 *back and "loud" lets it pass; the answer is the same word.  Prints "ready" at first.  Ends, and
 *ends the program, when standard input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "vmm/netns/netns.h"

#define FORWARDS_MAX 8
#define RULES_MAX    128

struct host {
	struct netns *netns;
	bool over;
	char line[16384]; /* with the rules that hold */
	char *allow[RULES_MAX], *deny[RULES_MAX];
	struct vmm_network rules;
};

/* "+RULE", "-RULE" */
static void add_rule(struct host *h, char *text)
{
	if (text[0] == '+' && h->rules.n_allow < RULES_MAX)
		h->allow[h->rules.n_allow++] = text + 1;
	else if (text[0] == '-' && h->rules.n_deny < RULES_MAX)
		h->deny[h->rules.n_deny++] = text + 1;
}

static void on_input(void *arg, uint32_t events)
{
	struct host *h = arg;
	struct mvm_error err = { 0 };
	(void)events;
	h->over = !fgets(h->line, sizeof(h->line), stdin);
	if (h->over)
		return;
	bool quiet = str_eq(h->line, "quiet\n");
	if (quiet || str_eq(h->line, "loud\n")) {
		fputs(netns_quiet(h->netns, quiet) < 0 ? "failed\n" : h->line, stdout);
		fflush(stdout);
		return;
	}
	h->rules.n_allow = h->rules.n_deny = 0;
	for (char *at = strtok(h->line, " \n"); at; at = strtok(NULL, " \n"))
		add_rule(h, at);
	puts(netns_rules(h->netns, &h->rules, &err) < 0 ? err.text : "rules");
	fflush(stdout);
}

static int fail(const struct mvm_error *err)
{
	fprintf(stderr, "netns_host: %s\n", err->text);
	return 1;
}

/* Serve the network until standard input ends. */
static int serve(struct loop *loop, struct host *h)
{
	AUTO(loop_source) source = NULL;
	setvbuf(stdin, NULL, _IONBF, 0);
	if (loop_add_fd(loop, STDIN_FILENO, EPOLLIN, on_input, h, &source) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	while (!h->over && loop_run_once(loop, DEADLINE_NONE) == 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	struct vmm_forward forwards[FORWARDS_MAX] = { 0 };
	struct mvm_error err = { 0 };
	static struct host h;
	bool held = false;
	size_t n = 0;
	int i = 1;
	h.rules = (struct vmm_network){ .allow = h.allow, .deny = h.deny };
	for (; i < argc && strcmp(argv[i], "--") != 0 && n < FORWARDS_MAX; i++) {
		unsigned host = 0, guest = 0;
		if (argv[i][0] == '+' || argv[i][0] == '-') {
			add_rule(&h, argv[i]);
			continue;
		}
		if (str_eq(argv[i], "held")) {
			held = true;
			continue;
		}
		if (sscanf(argv[i], "%u:%u", &host, &guest) != 2)
			return 2;
		forwards[n].host_port = (uint16_t)host;
		forwards[n].guest_port = (uint16_t)guest;
		forwards[n].udp = strstr(argv[i], "/udp");
		snprintf(forwards[n].host_address, sizeof(forwards[n].host_address), "127.0.0.1");
		n++;
	}
	if (i + 1 >= argc)
		return 2;
	AUTO(loop) loop = NULL;
	AUTO(netns) netns = NULL;
	AUTO_DONE(process) vmm = { 0 };
	if (loop_new(&loop) < 0)
		return 1;
	int64_t began = clock_now_ns();
	if (netns_new(loop, forwards, n, &h.rules, (uid_t)-1, held, &netns, &err) < 0)
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
	h.netns = netns;
	return serve(loop, &h);
}
