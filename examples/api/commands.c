/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many commands at once in several running VMs: one process, one thread, one epoll set.  As C11 or,
 * unchanged, as C++17:
 *
 *	cc -o commands commands.c $(pkg-config --cflags --libs mvm)
 *	./commands 50 web-1 web-2 web-3 web-4
 *
 * Each command reads a line and says it on its standard output and error; its status is made of the
 * line.  The lines are sent when the last command has started, so all of them do run at once.
 */
#include <errno.h>
#include <mvm/mvm.h>
#include <mvm/stream.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TEXT_MAX   64
#define TIMEOUT_MS 300000

struct text {
	char data[TEXT_MAX];
	size_t len;
};

struct job {
	const char *instance;
	int number;
	struct mvm_exec *exec;
	uint32_t waits_for; /* what its descriptor is in the epoll set for */
	struct text in, out, err;
	size_t sent;
	bool started;
	int status; /* -1: none yet */
};

struct jobs {
	struct job *v;
	size_t n, n_started, n_over;
	int epoll_fd;
	bool failed;
};

/* Or it never will. */
static void has_started(struct jobs *jobs, struct job *job)
{
	jobs->n_started += !job->started;
	job->started = true;
}

static void complain(struct jobs *jobs, const struct job *job, const char *what)
{
	fprintf(stderr, "%s %d: %s\n", job->instance, job->number, what);
	jobs->failed = true;
}

/* A closed descriptor leaves the epoll set by itself. */
static void finish(struct jobs *jobs, struct job *job)
{
	has_started(jobs, job);
	mvm_exec_close(job->exec);
	job->exec = NULL;
	jobs->n_over++;
}

static void keep(struct jobs *jobs, struct job *job, struct text *text,
		 const struct mvm_exec_event *event)
{
	if (event->len > sizeof(text->data) - text->len) {
		complain(jobs, job, "it prints too much");
		return;
	}
	memcpy(text->data + text->len, event->data, event->len);
	text->len += event->len;
}

static void take(struct jobs *jobs, struct job *job, const struct mvm_exec_event *event)
{
	switch (event->kind) {
	case MVM_EXEC_STARTED:
		has_started(jobs, job);
		break;
	case MVM_EXEC_STDOUT:
		keep(jobs, job, &job->out, event);
		break;
	case MVM_EXEC_STDERR:
		keep(jobs, job, &job->err, event);
		break;
	case MVM_EXEC_EXITED:
		job->status = event->status;
		break;
	}
}

/* Send what there is room for.  Of a line this short that is all of it, but a program that sends
 * more comes back here until it is. */
static int send_input(struct job *job, struct mvm_error *err)
{
	int n = mvm_exec_write(job->exec, job->in.data + job->sent, job->in.len - job->sent, err);
	if (n < 0)
		return n == -EPIPE ? 0 : n; /* reading tells how it ended */
	job->sent += (size_t)n;
	return job->sent == job->in.len ? mvm_exec_close_stdin(job->exec, err) : 0;
}

static void serve(struct jobs *jobs, struct job *job)
{
	const struct mvm_exec_event *event;
	struct mvm_error err;
	struct epoll_event wait;
	int r;

	while ((r = mvm_exec_read(job->exec, &event, &err)) == MVM_STREAM_ITEM)
		take(jobs, job, event);
	if (r == MVM_STREAM_WAIT && jobs->n_started == jobs->n && job->sent < job->in.len)
		r = send_input(job, &err);
	if (r < 0)
		complain(jobs, job, err.text);
	if (r != 0) {
		finish(jobs, job);
		return;
	}
	memset(&wait, 0, sizeof(wait));
	wait.events = (uint32_t)mvm_exec_events(job->exec);
	wait.data.ptr = job;
	if (wait.events != job->waits_for &&
	    epoll_ctl(jobs->epoll_fd, job->waits_for ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
		      mvm_exec_fd(job->exec), &wait) < 0)
		complain(jobs, job, strerror(errno));
	job->waits_for = wait.events;
}

static void serve_all(struct jobs *jobs)
{
	for (size_t i = 0; i < jobs->n; i++) {
		if (jobs->v[i].exec)
			serve(jobs, &jobs->v[i]);
	}
}

/* Until the first of them wants to be read without an event. */
static int timeout_ms(const struct jobs *jobs)
{
	int least = -1;
	for (size_t i = 0; i < jobs->n; i++) {
		int ms = jobs->v[i].exec ? mvm_exec_timeout_ms(jobs->v[i].exec) : -1;
		if (ms >= 0 && (least < 0 || ms < least))
			least = ms;
	}
	return least;
}

static int run(struct jobs *jobs)
{
	struct epoll_event ready[64];
	bool told = false;

	serve_all(jobs);
	while (jobs->n_over < jobs->n) {
		int n = epoll_wait(jobs->epoll_fd, ready, 64, timeout_ms(jobs));
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++)
			serve(jobs, (struct job *)ready[i].data.ptr);
		bool all_started = jobs->n_started == jobs->n;
		if (n == 0 || (all_started && !told)) /* a timeout; or they get their lines */
			serve_all(jobs);
		told = all_started;
	}
	return 0;
}

static int start(struct mvm *mvm, struct jobs *jobs, struct job *job)
{
	static const char *const command[] = {
		"sh",
		"-c",
		"read line; echo \"$line\"; echo \"$line\" >&2; exit $((line % 100))",
		NULL,
	};
	struct mvm_exec_start_options options = MVM_EXEC_START_OPTIONS_INIT;
	struct mvm_error err;

	options.command = command;
	options.input = true;
	options.timeout_ms = TIMEOUT_MS;
	job->status = -1;
	job->in.len = (size_t)snprintf(job->in.data, sizeof(job->in.data), "%d\n", job->number);
	int r = mvm_exec_start(mvm, job->instance, &options, &job->exec, &err);
	if (r < 0)
		complain(jobs, job, err.text);
	return r;
}

static bool is_right(const struct job *job)
{
	return job->status == job->number % 100 && job->out.len == job->in.len &&
	       job->err.len == job->in.len &&
	       memcmp(job->out.data, job->in.data, job->in.len) == 0 &&
	       memcmp(job->err.data, job->in.data, job->in.len) == 0;
}

static int run_all(struct mvm *mvm, struct jobs *jobs, char **instances, size_t n_instances)
{
	for (size_t i = 0; i < jobs->n; i++) {
		jobs->v[i].instance = instances[i % n_instances];
		jobs->v[i].number = (int)i;
		if (start(mvm, jobs, &jobs->v[i]) < 0)
			return -1;
	}
	int r = run(jobs);
	size_t right = 0;
	for (size_t i = 0; i < jobs->n; i++)
		right += is_right(&jobs->v[i]);
	printf("%zu of %zu commands in %zu VMs did as they were told\n", right, jobs->n,
	       n_instances);
	return r < 0 || right < jobs->n || jobs->failed ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct mvm_error err;
	struct jobs jobs;
	struct mvm *mvm;
	long each = argc > 2 ? strtol(argv[1], NULL, 10) : 0;

	if (each < 1 || each > 256) {
		fprintf(stderr, "usage: %s COMMANDS-EACH INSTANCE...\n", argv[0]);
		return 2;
	}
	if (mvm_open(NULL, &mvm, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return mvm_error_exit_status(err.code);
	}
	memset(&jobs, 0, sizeof(jobs));
	jobs.n = (size_t)each * (size_t)(argc - 2);
	jobs.v = (struct job *)calloc(jobs.n, sizeof(*jobs.v));
	jobs.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int r = -1;
	if (jobs.v && jobs.epoll_fd >= 0)
		r = run_all(mvm, &jobs, argv + 2, (size_t)(argc - 2));
	else
		fprintf(stderr, "%s\n", strerror(errno));
	for (size_t i = 0; jobs.v && i < jobs.n; i++)
		mvm_exec_close(jobs.v[i].exec); /* of those that did not come to their end */
	free(jobs.v);
	if (jobs.epoll_fd >= 0)
		close(jobs.epoll_fd);
	mvm_close(mvm);
	return r < 0 ? 1 : 0;
}
