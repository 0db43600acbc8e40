/* SPDX-License-Identifier: Apache-2.0 */
#include "processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "net/agent.h"
#include "net/wire.h"
#include "stream.h"
#include "workload.h"

#define STAT_MAX    1024u
#define COMMAND_MAX 512u
#define RESULTS_MAX (FRAME_PAYLOAD_MAX - 4096u) /* leaves room for one more line and the status */

/* Read the beginning of a file in /proc as text.  Returns the length, 0 if reading fails. */
static size_t read_start(int dir_fd, const char *name, char *text, size_t size)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/* Turn NULs between arguments into spaces, and cut trailing ones. */
static void join_arguments(char *text, size_t len)
{
	while (len > 0 && text[len - 1] == '\0')
		len--;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\0')
			text[i] = ' ';
	}
}

/* Describe a process as "PID PPID UID STATE TICKS PAGES COMMAND".  Returns false if it has ended or
 * is the kernel's. */
static bool describe(int proc_fd, const char *pid, char *ret, size_t size)
{
	char stat_text[STAT_MAX], command[COMMAND_MAX];
	long long ppid, pages;
	unsigned flags;
	unsigned long long user, system;
	struct stat st;
	char state;

	AUTO_CLOSE int dir = openat(proc_fd, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0 ||
	    read_start(dir, "stat", stat_text, sizeof(stat_text)) == 0)
		return false;
	char *name = strchr(stat_text, '('), *end = strrchr(stat_text, ')');
	/* proc_pid_stat(5): state, ppid, ..., flags (9), ..., utime (14), stime, ..., rss (24) */
	if (!name || !end ||
	    /* NOLINTNEXTLINE(cert-err34-c): the kernel prints what fits its own types */
	    sscanf(end + 1,
		   " %c %lld %*s %*s %*s %*s %u %*s %*s %*s %*s %llu %llu %*s %*s %*s %*s %*s %*s "
		   "%*s %*s %lld",
		   &state, &ppid, &flags, &user, &system, &pages) != 6)
		return false;
	if (flags & 0x00200000) /* PF_KTHREAD */
		return false;
	size_t len = read_start(dir, "cmdline", command, sizeof(command));
	join_arguments(command, len);
	*end = '\0';
	snprintf(ret, size, "%s %lld %u %c %llu %lld %s", pid, ppid, (unsigned)st.st_uid, state,
		 user + system, pages, len ? command : name + 1);
	return true;
}

void processes_list(struct agent *a, uint32_t id)
{
	AUTO_DONE(strbuf) results = { 0 };
	AUTO_CLOSEDIR DIR *proc = opendir("/proc");
	char line[COMMAND_MAX + 160];

	if (!proc) {
		stream_reply(a, id, -errno, "cannot read /proc", NULL);
		return;
	}
	wire_put_u64(&results, FIELD_TIME_NS, (uint64_t)(1000000000L / sysconf(_SC_CLK_TCK)));
	wire_put_u64(&results, FIELD_MEMORY_BYTES, (uint64_t)sysconf(_SC_PAGESIZE));
	for (struct dirent *e; (e = readdir(proc)) && results.len < RESULTS_MAX;) {
		if (strspn(e->d_name, "0123456789") == strlen(e->d_name) &&
		    describe(dirfd(proc), e->d_name, line, sizeof(line)))
			wire_put_str(&results, FIELD_ARG, line);
	}
	stream_reply(a, id, 0, NULL, &results);
}

void processes_signal(struct agent *a, uint32_t id, const struct request *q)
{
	int r = q->stop_signal ? workload_signal(a, (int)q->stop_signal) : -EINVAL;
	const char *why = NULL;
	if (r == -EINVAL)
		why = "the call names no signal";
	else if (r == -ESRCH)
		why = "the guest has no running workload";
	stream_reply(a, id, r, why, NULL);
}
