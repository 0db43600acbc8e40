/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <getopt.h>
#include <grp.h>
#include <mvm/mvm.h>
#include <stdio.h>

#include "base/parse.h"
#include "route.h"
#include "server.h"

#define TIME_MAX_MS    (INT64_C(3600) * 1000)
#define MEMORY_MAX_MIB (UINT64_C(1) << 30)

static void usage(FILE *out)
{
	fputs("Usage: mvmd [OPTIONS]\n"
	      "\n"
	      "Serve templates and instances to programs, over HTTP.\n"
	      "\n"
	      "      --data-dir DIR       use this data folder instead of ~/.mvm\n"
	      "      --socket PATH        listen at this Unix socket instead of the user's own\n"
	      "      --group NAME         members may use the socket, which is the same as being "
	      "root\n"
	      "                           where root runs mvmd\n"
	      "      --tcp ADDRESS:PORT   listen here, too; clients need a token. Without TLS\n"
	      "                           only at an address of this host alone\n"
	      "      --tls-cert FILE      certificate for --tcp, with its chain, in PEM\n"
	      "      --tls-key FILE       its key, in PEM\n"
	      "      --tls-min VERSION    1.2 or 1.3 (default: 1.2)\n"
	      "      --host NAME          a name of this host, which clients use; names below it\n"
	      "                           too. Needed without TLS only\n"
	      "      --client-timeout TIME\n"
	      "                           how long a client may take to send a request's head,\n"
	      "                           and then a JSON body (default: 30s)\n"
	      "      --grace TIME         how long requests under way may take when mvmd is\n"
	      "                           stopped (default: 10s)\n"
	      "      --no-pools           leave the pools to 'mvm pool serve'\n"
	      "      --pool-memory SIZE   limit for the private memory of waiting VMs\n"
	      "                           (default: a quarter of this host's memory)\n"
	      "      --routes             print the methods and paths of the API\n"
	      "      --version            print the version\n"
	      "  -h, --help               show this help\n"
	      "\n"
	      "The socket is /run/mvm/mvmd.sock for root, else $XDG_RUNTIME_DIR/mvm/mvmd.sock.\n"
	      "Sockets of systemd's take the place of --socket.\n",
	      out);
}

static void print_routes(void)
{
	for (const struct route *const *table = route_tables; *table; table++) {
		for (const struct route *r = *table; r->method; r++)
			printf("%s %s\n", r->method, r->pattern);
	}
}

static int wrong(const char *text, const char *value)
{
	fprintf(stderr, "mvmd: '%s' %s\nhint: mvmd --help\n", value, text);
	return 2;
}

/* Checked here, so that a wrong address opens no socket. */
static int take_address(const char *value, struct options *o)
{
	struct mvm_error err = { 0 };
	if (server_check_tcp(value, &err) < 0) {
		fprintf(stderr, "mvmd: %s\nhint: %s\n", err.text, err.hint);
		return 2;
	}
	strv_add(&o->tcp, value);
	return -1;
}

/* Take one option's value.  Returns -1, or an exit status. */
static int take(int c, const char *value, struct options *o)
{
	const struct group *group;
	switch (c) {
	case 'd':
		o->data_dir = value;
		break;
	case 's':
		o->socket = value;
		break;
	case 'G':
		group = getgrnam(value);
		if (!group)
			return wrong("is no group of this host", value);
		o->group = group->gr_gid;
		break;
	case 't':
		return take_address(value, o);
	case 'c':
		o->tls_cert = value;
		break;
	case 'k':
		o->tls_key = value;
		break;
	case 'm':
		o->only_tls_1_3 = str_eq(value, "1.3");
		if (!o->only_tls_1_3 && !str_eq(value, "1.2"))
			return wrong("is no version of TLS that mvmd may require: 1.2, 1.3", value);
		break;
	case 'n':
		if (!parse_hostname_ok(value))
			return wrong("is no host name", value);
		strv_add(&o->hosts, value);
		break;
	case 'g':
		if (parse_duration_ms(value, TIME_MAX_MS, &o->grace_ms) < 0)
			return wrong("is no time of an hour at most, as in 10s", value);
		break;
	case 'C':
		if (parse_duration_ms(value, TIME_MAX_MS, &o->client_ms) < 0 || !o->client_ms)
			return wrong("is no time of an hour at most, as in 30s", value);
		break;
	case 'p':
		o->no_pools = true;
		break;
	case 'M':
		if (parse_size_mib(value, MEMORY_MAX_MIB, &o->pool_memory_mib) < 0)
			return wrong("is no amount of memory, as in 2G", value);
		break;
	case 'R':
		print_routes();
		return 0;
	case 'v':
		printf("mvmd %s\n", mvm_version());
		return 0;
	case 'h':
		usage(stdout);
		return 0;
	default:
		fputs("hint: mvmd --help\n", stderr);
		return 2;
	}
	return -1;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	static const struct option options[] = {
		{ "data-dir", required_argument, NULL, 'd' },
		{ "socket", required_argument, NULL, 's' },
		{ "group", required_argument, NULL, 'G' },
		{ "tcp", required_argument, NULL, 't' },
		{ "tls-cert", required_argument, NULL, 'c' },
		{ "tls-key", required_argument, NULL, 'k' },
		{ "tls-min", required_argument, NULL, 'm' },
		{ "host", required_argument, NULL, 'n' },
		{ "client-timeout", required_argument, NULL, 'C' },
		{ "grace", required_argument, NULL, 'g' },
		{ "no-pools", no_argument, NULL, 'p' },
		{ "pool-memory", required_argument, NULL, 'M' },
		{ "routes", no_argument, NULL, 'R' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) >= 0;) {
		int status = take(c, optarg, ret);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong("is one argument too many", argv[optind]);
	if (!ret->tls_cert != !ret->tls_key)
		return wrong("needs the other of --tls-cert and --tls-key",
			     ret->tls_cert ? "--tls-cert" : "--tls-key");
	return -1;
}

void options_done(struct options *o)
{
	strv_done(&o->tcp);
	strv_done(&o->hosts);
}
