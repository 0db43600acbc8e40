/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/ask.h"

#include <errno.h>
#include <fcntl.h>

#include "base/process.h"
#include "base/progress.h"

/* Read the pipe to its end, or up to a limit or the deadline. */
static int read_all(int fd, int64_t deadline_ns, const struct mvm_progress *progress,
		    char ret[ASK_TEXT_MAX])
{
	size_t len = 0;
	for (;;) {
		int r = progress_wait(progress, fd, deadline_ns);
		if (r < 0)
			return r;
		ssize_t got = read(fd, ret + len, ASK_TEXT_MAX - 1 - len);
		if (got < 0)
			return -errno;
		len += (size_t)got;
		if (got == 0 || len == ASK_TEXT_MAX - 1)
			break;
	}
	ret[len] = '\0';
	return 0;
}

int program_ask(char *const argv[], int cwd_fd, int64_t deadline_ns,
		const struct mvm_progress *progress, char ret[ASK_TEXT_MAX])
{
	int fds[2], status = 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int from = fds[0];
	AUTO_CLOSE int to = fds[1];
	AUTO_DONE(process) p = { 0 };
	struct process_spec spec = {
		.argv = argv,
		.cwd_fd = cwd_fd,
		.stdin_fd = -1,
		.stdout_fd = to,
		.stderr_fd = to,
		.flags = PROCESS_DIE_WITH_PARENT,
	};
	int r = process_spawn(&spec, &p);
	if (r < 0)
		return r;
	close(TAKE_FD(to)); /* the pipe ends when the program does */
	r = read_all(from, deadline_ns, progress, ret);
	close(TAKE_FD(from)); /* SIGPIPE ends a program that goes on printing */
	if (r == 0)
		r = process_wait(&p, deadline_ns, &status);
	return r < 0 ? r : status;
}
