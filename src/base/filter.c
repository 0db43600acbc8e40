/* SPDX-License-Identifier: Apache-2.0 */
#include "base/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "base/progress.h"

#define READ_BLOCK 4096u

/* Read a program's whole output. */
static int read_output(int fd, size_t max, int64_t deadline_ns, const struct mvm_progress *progress,
		       struct strbuf *ret)
{
	size_t had = ret->len;

	for (;;) {
		int r = progress_wait(progress, fd, deadline_ns);
		char *to = r < 0 ? NULL : strbuf_room(ret, READ_BLOCK);
		if (!to)
			return r < 0 ? r : -ENOMEM;
		ssize_t n = read(fd, to, READ_BLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		strbuf_added(ret, (size_t)n);
		if (ret->len - had > max)
			return -EFBIG;
	}
}

int program_filter(char *const argv[], const void *in, size_t len, int stderr_fd, size_t max,
		   int64_t deadline_ns, const struct mvm_progress *progress, struct strbuf *ret)
{
	AUTO_DONE(process) child = { 0 };
	int out[2], status = 0;

	/* writing to a pipe could wait for a program that does not read */
	AUTO_CLOSE int in_fd = file_in_memory(in, len);
	if (in_fd < 0)
		return in_fd;
	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int out_read = out[0];
	AUTO_CLOSE int out_write = out[1];
	const struct process_spec spec = { .argv = argv,
					   .cwd_fd = AT_FDCWD,
					   .stdin_fd = in_fd,
					   .stdout_fd = out_write,
					   .stderr_fd = stderr_fd,
					   .flags = PROCESS_DIE_WITH_PARENT };
	int r = process_spawn(&spec, &child);
	close(TAKE_FD(out_write));
	if (r == 0)
		r = read_output(out_read, max, deadline_ns, progress, ret);
	if (r == 0)
		r = process_wait(&child, deadline_ns, &status);
	return r < 0 ? r : status;
}
