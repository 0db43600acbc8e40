/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"

#define PROCS_MAX (1u << 20)

static int write_at(int dir_fd, const char *name, const char *text)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return file_write_all(fd, text, strlen(text));
}

int cgroup_make(int root_fd, const char *name)
{
	if (mkdirat(root_fd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	return dir_open_at(root_fd, name);
}

int cgroup_join_self(int root_fd, const char *name)
{
	AUTO_CLOSE int fd = cgroup_make(root_fd, name);
	return fd < 0 ? fd : write_at(fd, "cgroup.procs", "0");
}

/* Before Linux 5.14: freeze the group so that no process forks, then kill one by one. */
static int kill_each(int fd)
{
	AUTO_FREE char *procs = NULL;
	write_at(fd, "cgroup.freeze", "1"); /* if this fails, a fork may escape */
	AUTO_CLOSE int procs_fd = openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (procs_fd < 0)
		return -errno;
	int r = file_read_fd(procs_fd, PROCS_MAX, &procs, NULL);
	if (r < 0)
		return r;
	for (char *p = procs; *p;) {
		long pid = strtol(p, &p, 10);
		if (pid > 1)
			kill((pid_t)pid, SIGKILL); /* fails if it has ended */
		p += strspn(p, "\n");
	}
	return write_at(fd, "cgroup.freeze", "0");
}

int cgroup_kill(int root_fd, const char *name)
{
	AUTO_CLOSE int fd = dir_open_at(root_fd, name);
	if (fd < 0)
		return fd;
	int r = write_at(fd, "cgroup.kill", "1");
	return r == -ENOENT ? kill_each(fd) : r;
}

/* The groups right below the root.  Their children freeze and die with them. */
static int list_groups(int root_fd, struct strv *ret)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(root_fd, &names);
	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++) {
		struct stat st;
		if (fstatat(root_fd, names.v[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISDIR(st.st_mode))
			strv_add(ret, names.v[i]);
	}
	return ret->failed ? -ENOMEM : 0;
}

void cgroup_sweep(int root_fd, const char *prefix, const char *but)
{
	AUTO_DONE(strv) names = { 0 };
	if (list_groups(root_fd, &names) < 0)
		return; /* the next sweep tries again */
	for (size_t i = 0; i < names.n; i++) {
		if (str_starts(names.v[i], prefix) && strcmp(names.v[i], but) != 0)
			unlinkat(root_fd, names.v[i], AT_REMOVEDIR); /* EBUSY: still in use */
	}
}

static int has_event(int events_fd, const char *event)
{
	char text[256];
	ssize_t n = pread(events_fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return strstr(text, event) != NULL;
}

/* cgroup.events reports each change as POLLPRI to a process that has read it before. */
static int wait_event(int group_fd, const char *event, int64_t deadline_ns)
{
	AUTO_CLOSE int fd = openat(group_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		int r = has_event(fd, event);
		if (r != 0)
			return r < 0 ? r : 0;
		struct pollfd p = { .fd = fd, .events = POLLPRI };
		int n = poll(&p, 1, clock_remaining_ms(deadline_ns));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
	}
}

int cgroup_wait_empty(int root_fd, const char *name, int64_t deadline_ns)
{
	AUTO_CLOSE int fd = dir_open_at(root_fd, name);
	return fd < 0 ? fd : wait_event(fd, "populated 0", deadline_ns);
}

static int set_freeze(int root_fd, const struct strv *names, const char *but, const char *value)
{
	int result = 0;
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->v[i], but) == 0)
			continue;
		AUTO_CLOSE int fd = dir_open_at(root_fd, names->v[i]);
		int r = fd < 0 ? fd : write_at(fd, "cgroup.freeze", value);
		if (r < 0 && r != -ENOENT && r != -ENODEV && result == 0)
			result = r; /* ENOENT and ENODEV: the group has just ended */
	}
	return result;
}

int cgroup_freeze_others(int root_fd, const char *but, int64_t deadline_ns, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	int r = list_groups(root_fd, &names);
	if (r == 0)
		r = set_freeze(root_fd, &names, but, "1");
	if (r < 0)
		mvm_error_set(err, r, "cannot freeze the guest's processes: %s", strerror(-r));
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		if (strcmp(names.v[i], but) == 0)
			continue;
		AUTO_CLOSE int fd = dir_open_at(root_fd, names.v[i]);
		r = fd < 0 ? fd : wait_event(fd, "frozen 1", deadline_ns);
		if (r == -ENOENT || r == -ENODEV)
			r = 0;
		if (r < 0)
			mvm_error_set(err, r, "processes in '%s' do not freeze: %s", names.v[i],
				      strerror(-r));
	}
	if (r < 0)
		set_freeze(root_fd, &names, but, "0"); /* report the first failure */
	return r;
}

void cgroup_rehearse_freeze(int root_fd, const char *name)
{
	AUTO_CLOSE int fd = cgroup_make(root_fd, name);
	if (fd < 0)
		return;
	if (write_at(fd, "cgroup.freeze", "1") == 0)
		wait_event(fd, "frozen 1", clock_now_ns());
	write_at(fd, "cgroup.freeze", "0");
	unlinkat(root_fd, name, AT_REMOVEDIR); /* nobody else uses it */
}

void cgroup_thaw_others(int root_fd, const char *but)
{
	AUTO_DONE(strv) names = { 0 };
	if (list_groups(root_fd, &names) == 0)
		set_freeze(root_fd, &names, but, "0"); /* cannot fail for a frozen group */
}

int cgroup_open_freezers(int root_fd, const char *but, int **ret_fds, size_t *ret_n)
{
	AUTO_DONE(strv) names = { 0 };
	size_t n = 0;
	int r = list_groups(root_fd, &names);
	if (r < 0)
		return r;
	int *fds = calloc(names.n + 1, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < names.n; i++) {
		if (strcmp(names.v[i], but) == 0)
			continue;
		AUTO_CLOSE int group_fd = dir_open_at(root_fd, names.v[i]);
		int fd = group_fd < 0 ? group_fd
				      : openat(group_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);
		if (fd >= 0) /* else the group has just ended */
			fds[n++] = fd;
	}
	*ret_fds = fds;
	*ret_n = n;
	return 0;
}

void cgroup_kill_others(int root_fd, const char *but)
{
	AUTO_DONE(strv) names = { 0 };
	if (list_groups(root_fd, &names) < 0)
		return; /* the power-off that follows ends them anyway */
	for (size_t i = 0; i < names.n; i++) {
		if (strcmp(names.v[i], but) != 0)
			cgroup_kill(root_fd, names.v[i]); /* or the power-off does */
	}
}
