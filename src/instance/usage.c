/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define PROC_FILE_MAX ((size_t)64 * 1024)

static char *read_proc(pid_t pid, const char *name)
{
	char path[64], *text = NULL;
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && file_read_fd(fd, PROC_FILE_MAX, &text, NULL) >= 0 ? text : NULL;
}

/* The sum of the lines "<key>   123 kB", in bytes. */
static uint64_t rollup(const char *text, const char *key)
{
	uint64_t sum = 0;
	for (const char *p = text; (p = strstr(p, key)); p++) {
		const char *colon = strchr(p, ':');
		if (colon)
			sum += (uint64_t)strtoull(colon + 1, NULL, 10) * 1024;
	}
	return sum;
}

/* Bytes that the process has written.  Private clean pages do not count: they are page cache that
 * no other process happens to map. */
static uint64_t written(const char *smaps)
{
	return rollup(smaps, "\nPrivate_Dirty") + rollup(smaps, "\nSwap:");
}

/* Resident but not shared bytes: proc_pid_statm(5).  Of a supervisor only root may read more. */
static uint64_t anonymous(const char *statm)
{
	char *p;
	strtoull(statm, &p, 10); /* its size */
	uint64_t resident = strtoull(p, &p, 10);
	uint64_t shared = strtoull(p, NULL, 10);
	return resident > shared ? (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* utime and stime, fields 14 and 15 of proc_pid_stat(5).  The name before them may contain any
 * character, but ends with the last ')'. */
static uint64_t cpu_ns(const char *stat)
{
	char *user_end, *system_end;
	const char *p = strrchr(stat, ')');
	for (int field = 3; p && field <= 14; field++)
		p = strchr(p + 1, ' '); /* the space before it */
	if (!p)
		return 0;
	unsigned long long user = strtoull(p, &user_end, 10);
	unsigned long long system = strtoull(user_end, &system_end, 10);
	if (user_end == p || system_end == user_end)
		return 0;
	return (uint64_t)(user + system) * (uint64_t)(NS_PER_S / sysconf(_SC_CLK_TCK));
}

/* ppid, field 4. */
static pid_t parent(const char *stat)
{
	const char *p = strrchr(stat, ')'); /* ") R 123" */
	return p && strlen(p) > 4 ? (pid_t)strtol(p + 4, NULL, 10) : 0;
}

/* A supervisor may be two processes: the VMM's parent is the other one. */
static uint64_t supervisor_bytes(pid_t pid, pid_t other)
{
	AUTO_FREE char *own = pid > 0 ? read_proc(pid, "statm") : NULL;
	AUTO_FREE char *others = other > 1 && other != pid ? read_proc(other, "statm") : NULL;
	return (own ? anonymous(own) : 0) + (own && others ? anonymous(others) : 0);
}

static uint64_t disk_bytes(int dir_fd)
{
	AUTO_DONE(strv) names = { 0 };
	uint64_t sum = 0;
	struct stat st;
	if (dir_list(dir_fd, &names) < 0)
		return 0;
	for (size_t i = 0; i < names.n; i++) {
		if (fstatat(dir_fd, names.v[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	return sum;
}

void usage_read(pid_t vmm_pid, pid_t supervisor_pid, int dir_fd, struct usage *ret)
{
	AUTO_FREE char *stat = vmm_pid > 0 ? read_proc(vmm_pid, "stat") : NULL;
	AUTO_FREE char *maps = vmm_pid > 0 ? read_proc(vmm_pid, "smaps_rollup") : NULL;

	*ret = (struct usage){ .disk_bytes = disk_bytes(dir_fd) };
	if (stat)
		ret->cpu_ns = cpu_ns(stat);
	if (maps) {
		ret->memory_private_bytes = written(maps);
		ret->memory_shared_bytes = rollup(maps, "\nShared_") +
					   rollup(maps, "\nPrivate_Clean");
	}
	ret->supervisor_private_bytes = supervisor_bytes(supervisor_pid, stat ? parent(stat) : 0);
}
