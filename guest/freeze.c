/* SPDX-License-Identifier: Apache-2.0 */
#include "freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cgroup.h"
#include "command.h"
#include "disks.h"
#include "freemem.h"
#include "idle.h"
#include "output.h"
#include "sever.h"
#include "warm.h"

#define FREEZE_TIMEOUT_MS 10000
#define SETTLE_MAX_MS	  1000 /* for the end of a health check's connection and of its children */
#define REHEARSAL_CGROUP  "mvm-rehearsal"

/*
 * Drop the clean page cache.  Boot has read most of it only once, and every page in use becomes
 * part of the snapshot: on disk, and in each restore.  The price is that a clone must read files
 * again that no process has mapped.
 */
static void drop_caches(void)
{
	AUTO_CLOSE int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || file_write_all(fd, "3", 1) < 0)
		agent_log("cannot drop caches: the snapshot will be larger");
}

/*
 * Give the agent priority from the snapshot until the clone has its identity: before the processes
 * that the thaw wakes, and before deferred work of the kernel.  Its children get no priority.
 */
void freeze_come_first(bool first)
{
	struct sched_param param = { .sched_priority = first ? 1 : 0 };
	int policy = first ? SCHED_RR | SCHED_RESET_ON_FORK : SCHED_OTHER;
	/* musl's sched_setscheduler() returns ENOSYS.  If this fails, the agent is only slower */
	syscall(SYS_sched_setscheduler, 0, policy, &param);
}

/* again: the guest was prepared before */
static int freeze(struct agent *a, bool again, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(FREEZE_TIMEOUT_MS);
	if (a->cgroup_fd < 0)
		return mvm_error_set(err, -EOPNOTSUPP, "the guest's kernel has no cgroup v2");
	command_drop_spare(a);
	int r = cgroup_freeze_others(a->cgroup_fd, AGENT_CGROUP, deadline_ns, err);
	if (r < 0)
		return r;
	a->frozen = true;
	output_drain(a); /* output up to here is this machine's, not its clones' */
	if (!again || slots_refresh(&a->slots, a->cgroup_fd) < 0)
		r = slots_prepare(&a->slots, a->cgroup_fd, err);
	if (r < 0) {
		/* not thaw_guest(), whose descriptors slots_prepare() may not have opened */
		cgroup_thaw_others(a->cgroup_fd, AGENT_CGROUP);
		a->frozen = false;
	}
	return r;
}

/* Do once, while the guest runs, the work that must be quick while it stands still.  Under TCG a
 * kernel path that is taken for the first time takes ten times as long. */
static void rehearse(struct agent *a)
{
	struct connections unused;
	command_drop_spare(a); /* here, since removing it takes a while */
	slots_refresh(&a->slots, a->cgroup_fd);
	connections_find(&unused);
	connections_done(&unused);
	if (a->cgroup_fd >= 0)
		cgroup_rehearse_freeze(a->cgroup_fd, REHEARSAL_CGROUP);
}

int freeze_only(struct agent *a, int64_t *ret_since_ns, struct mvm_error *err)
{
	rehearse(a);
	*ret_since_ns = clock_now_ns();
	int r = freeze(a, true, err);
	if (r < 0)
		return r;
	connections_find(&a->connections);
	freeze_come_first(true);
	return 0;
}

int freeze_guest(struct agent *a, struct mvm_error *err)
{
	idle_wait(a, SETTLE_MAX_MS);
	int r = freeze(a, false, err);
	if (r < 0)
		return r;
	sever_connections();
	sync();
	disks_trim(a->upper_fd);
	drop_caches();
	warm_commands(a);
	return 0;
}

void freeze_finish(struct agent *a, uint64_t memory_bytes)
{
	freemem_zero(memory_bytes);
	if (a->unstarted)
		warm_workload(a);
	freeze_come_first(true);
}

int thaw_guest(struct agent *a, struct mvm_error *err)
{
	if (!a->frozen)
		return 0;
	int r = slots_thaw(&a->slots);
	if (r < 0)
		return mvm_error_set(err, r, "cannot thaw the guest's processes: %s", strerror(-r));
	a->frozen = false;
	return 0;
}
