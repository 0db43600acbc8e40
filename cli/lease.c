/* SPDX-License-Identifier: Apache-2.0 */
#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"
#include "base/parse.h"
#include "base/str.h"

#define LEASE_MS_MIN INT64_C(1000)
#define LOOKS	     10		    /* at the file, while the lease lasts */
#define AGAIN_MS     INT64_C(500)   /* until the second signal, which does not wait for the guest */
#define LAST_MS	     INT64_C(20000) /* for what the signals cause, until the process just ends */
#define NO_VM_STATUS 125
#define NS_PER_MS    INT64_C(1000000)
#define NS_PER_S     INT64_C(1000000000)

struct lease {
	int fd;
	int64_t ms;
	const char *text; /* TIME:FILE */
};

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void pause_ms(int64_t ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * NS_PER_MS };
	nanosleep(&t, NULL);
}

static _Noreturn void end(const struct lease *l)
{
	dprintf(STDERR_FILENO, "mvm: the lease %s has run out, so the VM ends\n", l->text);
	kill(getpid(), SIGTERM);
	pause_ms(AGAIN_MS);
	kill(getpid(), SIGTERM);
	pause_ms(LAST_MS);
	_exit(NO_VM_STATUS); /* the supervisor notices */
}

static int64_t touched_ns(const struct stat *st)
{
	return st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
}

/* It looks again and again, because a file on a network tells nobody that it was touched. */
static void *watch(void *arg)
{
	const struct lease *l = arg;
	struct stat st;
	fstat(l->fd, &st);
	int64_t seen_ns = touched_ns(&st), looked_ns = now_ns(CLOCK_BOOTTIME);
	int64_t age_ns = now_ns(CLOCK_REALTIME) - seen_ns;
	int64_t renewed_ns = looked_ns - (age_ns > 0 ? age_ns : 0);

	while (fstat(l->fd, &st) == 0 && st.st_nlink > 0) {
		if (touched_ns(&st) != seen_ns)
			renewed_ns = looked_ns; /* at the earliest */
		seen_ns = touched_ns(&st);
		looked_ns = now_ns(CLOCK_BOOTTIME); /* also while the host slept */
		if (looked_ns - renewed_ns > l->ms * NS_PER_MS)
			break;
		pause_ms(l->ms / LOOKS);
	}
	end(l);
}

/* Open the file and check that it is not too old. */
static int open_lease(struct cli_context *c, struct lease *l)
{
	const char *colon = strchr(l->text, ':');
	AUTO_FREE char *time = colon ? strndup(l->text, (size_t)(colon - l->text)) : NULL;
	struct stat st;

	if (!time || !colon[1] || parse_duration_ms(time, INT32_MAX, &l->ms) < 0 ||
	    l->ms < LEASE_MS_MIN)
		return cli_usage(c,
				 "the lease '%s' is no TIME:FILE with at least 1s, such as "
				 "30s:/run/lease",
				 l->text);
	l->fd = open(colon + 1, O_PATH | O_CLOEXEC);
	if (l->fd < 0 || fstat(l->fd, &st) < 0)
		return cli_error(c, -errno, "the lease '%s': %s", colon + 1, strerror(errno));
	if (now_ns(CLOCK_REALTIME) - touched_ns(&st) > l->ms * NS_PER_MS)
		return cli_error(c, -ETIMEDOUT, "the lease '%s' was not renewed for %s", colon + 1,
				 time);
	return 0;
}

int lease_begin(struct cli_context *c, const struct args *a)
{
	static struct lease lease; /* for the thread, which ends with the process */
	sigset_t all, before;
	pthread_t thread;

	const bool given = args_given(a, "lease");
	lease.text = given ? args_string(a, "lease") : getenv("MVM_LEASE");
	if (!given && str_empty(lease.text))
		return 0;
	if (args_flag(a, "detach"))
		return cli_usage(c, "a lease ends this command, with which a VM of --detach does "
				    "not end");
	int r = open_lease(c, &lease);
	if (r < 0)
		return r;
	sigfillset(&all); /* signals are for the main thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, NULL, watch, &lease);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r ? cli_error(c, -r, "cannot watch the lease: %s", strerror(r)) : 0;
}
