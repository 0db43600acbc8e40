/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_run.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/process.h"
#include "base/progress.h"

#define NOTE_MAX   300u /* of one progress line */
#define GIT_PROMPT "GIT_TERMINAL_PROMPT="

extern char **environ;

void nix_done(struct nix *n)
{
	free(n->program);
	free(n->log_path);
	if (n->log_fd >= 0)
		close(n->log_fd); /* no fsync: losing a log in a crash is fine */
	*n = (struct nix)NIX_NONE;
}

void nix_result_done(struct nix_result *r)
{
	strbuf_done(&r->out);
	strbuf_done(&r->errors);
}

int nix_find(struct nix *ret, struct mvm_error *err)
{
	/* sudo and services leave these out of PATH */
	static const char *const elsewhere[] = {
		"/nix/var/nix/profiles/default/bin/nix",
		"/run/current-system/sw/bin/nix",
	};

	int r = process_find("nix", &ret->program);
	for (size_t i = 0; r == -ENOENT && i < MVM_ARRAY_SIZE(elsewhere); i++)
		r = process_find(elsewhere[i], &ret->program);
	if (r == -ENOENT) {
		r = mvm_error_set(err, -EOPNOTSUPP,
				  "cannot build a flake: no nix command was found");
		return mvm_error_hint(err, r,
				      "install Nix: 'apt-get install nix-bin', or see nixos.org");
	}
	return r < 0 ? mvm_error_set(err, r, "cannot find nix: %s", strerror(-r)) : 0;
}

/* One of the child's two streams. */
struct stream {
	struct run *run;
	int fd; /* -1 once the stream has ended */
	struct loop_source *source;
};

struct run {
	const struct nix *nix;
	struct nix_result *result;
	struct stream out, errors;
	bool merged;   /* standard output goes where standard error goes */
	bool ended;    /* the child */
	bool too_long; /* the output is over the limit */
	bool stopped;  /* by stop_fd or a cancellation */
	bool failing;  /* Nix prints "error: ...", which the caller reports */
	enum { TEXT, ESCAPE, SEQUENCE } state; /* of plain_text() */
	char line[NOTE_MAX];
	size_t line_len;
	size_t logged;
};

static void end_line(struct run *run)
{
	run->line[run->line_len] = '\0';
	if (str_starts(run->line, "error:"))
		run->failing = true;
	if (run->line_len && !run->failing)
		progress_note(run->nix->progress, "%s", run->line);
	run->line_len = 0;
}

static void follow_lines(struct run *run, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = data[i];
		if (c == '\n' || c == '\r')
			end_line(run);
		else if (run->line_len + 1 < sizeof(run->line)) /* cut longer lines */
			run->line[run->line_len++] = c;
	}
}

/*
 * Drop the terminal sequences that builders print: ESC [ parameters letter, or ESC and one letter
 * (Source: ECMA-48, 5.4).  Turn tabs into spaces.  Works in place and returns the new length.
 */
static size_t plain_text(struct run *run, char *data, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = data[i];
		if (c == '\033')
			run->state = ESCAPE;
		else if (run->state == ESCAPE)
			run->state = c == '[' ? SEQUENCE : TEXT;
		else if (run->state == SEQUENCE)
			run->state = c >= '@' && c <= '~' ? TEXT : SEQUENCE;
		else
			data[n++] = c == '\t' ? ' ' : c;
	}
	return n;
}

static void take_errors(struct run *run, char *data, size_t len)
{
	struct strbuf *errors = &run->result->errors;

	if (run->nix->log_fd >= 0 && run->logged < NIX_LOG_MAX) {
		/* if this fails, the build goes on without its log */
		file_write_all(run->nix->log_fd, data, len);
		run->logged += len;
	}
	len = plain_text(run, data, len);
	strbuf_add(errors, data, len);
	if (!errors->failed && errors->len > 2 * NIX_ERRORS_MAX) /* rarely: it moves all bytes */
		strbuf_consume(errors, errors->len - NIX_ERRORS_MAX);
	follow_lines(run, data, len);
}

static void take_output(struct run *run, const char *data, size_t len)
{
	if (run->result->out.len + len > NIX_OUTPUT_MAX)
		run->too_long = true;
	else
		strbuf_add(&run->result->out, data, len);
}

/* Read the bytes that have arrived. */
static void drain(struct stream *s)
{
	char buf[16384];

	while (s->fd >= 0) {
		ssize_t n = read(s->fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			loop_source_free(s->source);
			s->source = NULL;
			close(s->fd); /* only read from */
			s->fd = -1;
		} else if (s == &s->run->out) {
			take_output(s->run, buf, (size_t)n);
		} else {
			take_errors(s->run, buf, (size_t)n);
		}
	}
}

static void on_stream(void *arg, uint32_t events)
{
	(void)events; /* read() reports an end or an error */
	drain(arg);
}

static void on_end(void *arg, uint32_t events)
{
	struct run *run = arg;
	(void)events;
	run->ended = true;
}

static void on_stop(void *arg, uint32_t events)
{
	struct run *run = arg;
	(void)events; /* both descriptors only become readable */
	run->stopped = true;
}

static int open_stream(struct run *run, struct stream *s, struct loop *loop, int *ret_child_end)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_child_end = fds[1];
	*s = (struct stream){ .run = run, .fd = fds[0] };
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return loop_add_fd(loop, fds[0], EPOLLIN, on_stream, s, &s->source);
}

static void close_stream(struct stream *s)
{
	loop_source_free(s->source);
	if (s->fd >= 0)
		close(s->fd); /* only read from */
}

/* Read until the child ends.  Its pipes may never end: a process that it leaves behind may hold
 * them open. */
static int follow(struct run *run, struct loop *loop, struct process *child)
{
	AUTO(loop_source) end = NULL;
	AUTO(loop_source) stop = NULL;
	AUTO(loop_source) cancel = NULL;
	int cancel_fd = progress_cancel_fd(run->nix->progress);

	int r = loop_add_fd(loop, child->pidfd, EPOLLIN, on_end, run, &end);
	if (r == 0 && cancel_fd >= 0)
		r = loop_add_fd(loop, cancel_fd, EPOLLIN, on_stop, run, &cancel);
	if (r == 0 && run->nix->stop_fd >= 0)
		r = loop_add_fd(loop, run->nix->stop_fd, EPOLLIN, on_stop, run, &stop);
	while (r == 0 && !run->ended && !run->too_long && !run->stopped) {
		int64_t next_ns;
		r = progress_ask(run->nix->progress, &next_ns);
		if (r == 0)
			r = loop_run_once(loop, next_ns);
		if (r == -ETIMEDOUT)
			r = 0;
	}
	if (r < 0)
		return r;
	if (run->stopped)
		return -ECANCELED;
	if (run->too_long)
		return -EFBIG;
	drain(&run->out);
	drain(&run->errors);
	end_line(run);
	r = process_wait(child, DEADLINE_NONE, &run->result->status);
	if (r == 0 && (run->result->out.failed || run->result->errors.failed))
		r = -ENOMEM;
	return run->too_long ? -EFBIG : r;
}

static int run_child(struct run *run, char *const *argv, char *const *env, int cwd_fd)
{
	AUTO(loop) loop = NULL;
	AUTO_DONE(process) child = { 0 };
	AUTO_CLOSE int out = -1;
	AUTO_CLOSE int errors = -1;

	int r = loop_new(&loop);
	if (r == 0)
		r = open_stream(run, &run->out, loop, &out);
	if (r == 0)
		r = open_stream(run, &run->errors, loop, &errors);
	if (r == 0)
		r = process_spawn(&(struct process_spec){ .argv = argv,
							  .env = env,
							  .cwd_fd = cwd_fd,
							  .stdin_fd = -1,
							  .stdout_fd = run->merged ? errors : out,
							  .stderr_fd = errors,
							  .flags = PROCESS_DIE_WITH_PARENT },
				  &child);
	if (out >= 0)
		close(TAKE_FD(out)); /* the child holds the write end now */
	if (errors >= 0)
		close(TAKE_FD(errors));
	if (r == 0)
		r = follow(run, loop, &child);
	close_stream(&run->out);
	close_stream(&run->errors);
	return r;
}

static void log_command(const struct nix *n, char *const *argv)
{
	AUTO_DONE(strbuf) line = { 0 };

	strbuf_adds(&line, "+");
	for (size_t i = 0; argv[i]; i++)
		strbuf_addf(&line, " %s", argv[i]);
	strbuf_adds(&line, "\n");
	if (n->log_fd >= 0 && !line.failed)
		file_write_all(n->log_fd, line.data, line.len); /* may fail, as in take_errors() */
}

static int run_program(struct run *run, char *const *argv, int cwd_fd, struct mvm_error *err)
{
	AUTO_DONE(strv) env = { 0 };
	run->out.fd = run->errors.fd = -1;

	for (size_t i = 0; environ[i]; i++) {
		if (!str_starts(environ[i], GIT_PROMPT))
			strv_add(&env, environ[i]);
	}
	strv_add(&env, GIT_PROMPT "0"); /* git must not ask for a password: nobody could answer */
	if (env.failed)
		return mvm_error_oom(err);
	log_command(run->nix, argv);
	int r = run_child(run, argv, env.v, cwd_fd);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, argv[0]);
	if (r == -EFBIG)
		return mvm_error_set(err, r, "'%s' printed more than 16 MiB", argv[0]);
	if (r < 0)
		return mvm_error_set(err, r, "cannot run '%s': %s", argv[0], strerror(-r));
	return WIFEXITED(run->result->status) && WEXITSTATUS(run->result->status) == 0;
}

int nix_run_program(const struct nix *n, char *const *argv, int cwd_fd, struct nix_result *ret,
		    struct mvm_error *err)
{
	struct run run = { .nix = n, .result = ret, .merged = true };
	return run_program(&run, argv, cwd_fd, err);
}

int nix_run(const struct nix *n, const char *const *args, int cwd_fd, struct nix_result *ret,
	    struct mvm_error *err)
{
	AUTO_DONE(strv) argv = { 0 };

	strv_add(&argv, n->program);
	strv_add(&argv, "--extra-experimental-features");
	strv_add(&argv, "nix-command flakes");
	/* as root, Nix refuses to build when its group of build users is missing; a container has
	 * no other users */
	if (geteuid() == 0 && !getgrnam("nixbld")) {
		strv_add(&argv, "--option");
		strv_add(&argv, "build-users-group");
		strv_add(&argv, "");
	}
	if (n->fresh) {
		strv_add(&argv, "--option");
		strv_add(&argv, "tarball-ttl");
		strv_add(&argv, "0");
	}
	for (size_t i = 0; args[i]; i++)
		strv_add(&argv, args[i]);
	if (argv.failed)
		return mvm_error_oom(err);
	struct run run = { .nix = n, .result = ret };
	return run_program(&run, argv.v, cwd_fd, err);
}
