/* SPDX-License-Identifier: Apache-2.0 */
#include "guest_command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "streams.h"

static sigset_t signal_set(bool resize)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		/* an ignored signal (nohup(1)) must end nothing, but a blocked one would be read */
		if (sigaction(ends[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&set, ends[i]);
	}
	if (resize)
		sigaddset(&set, SIGWINCH);
	return set;
}

int guest_signals_block(bool resize)
{
	const sigset_t ends = signal_set(false);
	sigset_t set = signal_set(resize);
	streams_heed(&ends);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd >= 0 && sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int guest_signals_take(int fd)
{
	struct signalfd_siginfo info;
	if (fd < 0 || read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	streams_hurry();
	if (info.ssi_signo == SIGINT && isatty(STDERR_FILENO))
		fputc('\n', stderr);
	return (int)info.ssi_signo;
}

void guest_signals_unblock(void)
{
	sigset_t set = signal_set(true);
	sigprocmask(SIG_UNBLOCK, &set, NULL); /* the set is valid */
}

int guest_command_parse(struct cli_context *c, const struct args *a, const struct strv *env,
			struct guest_command *ret)
{
	bool tty = args_flag(a, "tty");

	if (tty && !isatty(STDIN_FILENO))
		return cli_usage(c, "--tty needs a terminal on standard input");
	*ret = (struct guest_command){
		.argv = a->rest,
		.env = env,
		.workdir = args_string(a, "workdir"),
		.user = args_string(a, "user"),
		.input = args_flag(a, "interactive"),
		.tty = tty,
		.timeout_ms = args_ms(a, "timeout", 0),
		.signal_fd = -1,
	};
	return 0;
}

/* Keys go to the guest as they are; undone by terminal_restore(). */
static bool terminal_raw(struct termios *saved)
{
	struct termios raw;
	if (tcgetattr(STDIN_FILENO, saved) < 0)
		return false;
	raw = *saved;
	cfmakeraw(&raw);
	/* TCSADRAIN would wait for output that a stopped terminal (^S) never takes */
	return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

/* As container tools: 127 without such a program or working folder, 126 when it cannot be started,
 * else 125. */
static int failure_status(int r)
{
	switch (-r) {
	case ENOENT:
		return 127;
	case EACCES:
	case ENOTDIR:
	case EINVAL: /* no such user */
	case EPERM:
	case ENOEXEC:
	case ELOOP:
	case EISDIR:
		return 126;
	default:
		return 125;
	}
}

int guest_command_run(struct cli_context *c, struct mvm_instance *instance,
		      const struct guest_command *command)
{
	struct termios saved;
	const int in = STDIN_FILENO, out = STDOUT_FILENO, errors = STDERR_FILENO;
	struct mvm_exec_options options = {
		.size = sizeof(options),
		.command = (const char *const *)command->argv,
		.env = command->env ? (const char *const *)command->env->v : NULL,
		.workdir = command->workdir,
		.user = command->user,
		.tty = command->tty,
		.stdin_fd = command->input ? &in : NULL,
		.stdout_fd = &out,
		.stderr_fd = &errors,
		.signal_fd = &command->signal_fd,
		.timeout_ms = command->timeout_ms,
	};
	int status = 0;
	/* without input ^C must stay a signal */
	bool raw = command->tty && command->input && terminal_raw(&saved);
	int r = mvm_instance_exec(instance, &options, &status, &c->err);
	if (raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved); /* nothing more can be done */
	if (r >= 0)
		return status;
	c->failure_status = r == -ECANCELED ? status : failure_status(r);
	return r;
}
