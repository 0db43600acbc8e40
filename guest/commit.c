/* SPDX-License-Identifier: Apache-2.0 */
#include "commit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cgroup.h"
#include "copy.h"
#include "copy/pack.h"

#define FREEZE_TIMEOUT_MS 10000
#define IMAGE_FD	  STDIN_FILENO

#ifndef OPEN_TREE_CLONE /* Linux 5.2 */
#define OPEN_TREE_CLONE 1
#endif

/* Add the paths of volumes with their links resolved: a link would lead the stream past them. */
static void add_volumes(const struct strv *volumes, struct strv *below)
{
	for (size_t i = 0; i < volumes->n; i++) {
		AUTO_FREE char *path = realpath(volumes->v[i], NULL);
		if (path && path[1]) /* else the guest has removed it */
			strv_add(below, path + 1);
	}
}

static int freeze(struct mvm_error *err)
{
	AUTO_CLOSE int fd = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open '/sys/fs/cgroup': %s",
				     strerror(errno));
	return cgroup_freeze_others(fd, AGENT_CGROUP, clock_deadline_ns(FREEZE_TIMEOUT_MS), err);
}

static int send_root(const struct request *q, struct mvm_error *err)
{
	/* what etc.c, network.c, slots.c and mounts.c write */
	static const char *const ours[] = { "etc/hostname",    "etc/hosts", "etc/machine-id",
					    "etc/resolv.conf", "etc/mtab",  "run/mvm" };
	AUTO_DONE(strv) paths = { 0 };
	AUTO(pack) p = NULL;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(ours); i++)
		strv_add(&paths, ours[i]);
	add_volumes(&q->args, &paths);
	if (paths.failed)
		return mvm_error_oom(err);
	int r = freeze(err);
	if (r < 0)
		return r;
	AUTO_CLOSE int root_fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/",
					      OPEN_TREE_CLONE | O_CLOEXEC);
	if (root_fd < 0)
		return mvm_error_set(err, -errno, "cannot open the root alone: %s",
				     strerror(errno));
	const struct pack_below below = { .dir_fd = IMAGE_FD, .paths = &paths };
	r = pack_open_root(root_fd, &below, &p, err);
	return r < 0 ? r : copy_send(p, err);
}

int commit_send(const struct request *q)
{
	struct mvm_error err = { 0 };
	return copy_report(send_root(q, &err), &err);
}
