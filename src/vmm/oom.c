/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hostload.h"

#define EVENTS_MAX 4096u

void oom_begin(struct oom_watch *w)
{
	w->known = hostload_oom_kills(&w->host);
}

uint64_t oom_kills_in(const char *memory_events)
{
	const char *line = memory_events;
	while (line && !str_starts(line, "oom_kill ")) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return line ? strtoull(line + strlen("oom_kill "), NULL, 10) : 0;
}

static bool cgroup_has_killed(const char *cgroup)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int dir_fd = cgroup ? dir_open_at(AT_FDCWD, cgroup) : -1;
	AUTO_CLOSE int fd = dir_fd < 0 ? -1 : openat(dir_fd, "memory.events", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && file_read_fd(fd, EVENTS_MAX, &text, NULL) >= 0 && oom_kills_in(text) > 0;
}

void oom_describe(const struct oom_watch *w, const char *cgroup, char ret[OOM_TEXT_SIZE])
{
	uint64_t now;
	ret[0] = '\0';
	if (cgroup_has_killed(cgroup))
		snprintf(ret, OOM_TEXT_SIZE,
			 " by the kernel: it reached the memory limit of its cgroup '%.128s'; "
			 "give the VM more memory, which raises the limit",
			 cgroup);
	else if (w->known && hostload_oom_kills(&now) && now != w->host)
		snprintf(ret, OOM_TEXT_SIZE,
			 ", probably by the kernel: memory ran out, and it has killed %llu "
			 "process%s meanwhile; give the VM less memory, or end other programs",
			 (unsigned long long)(now - w->host), now - w->host == 1 ? "" : "es");
}
