/* SPDX-License-Identifier: Apache-2.0 */
/* Instances that were left behind: their supervisor was killed, or the whole host went down. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "instance/confine.h"
#include "instance/events.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "model/name.h"

#define START_MAX_S 60 /* from an instance's folder to its record, on the slowest disk */

void host_boot_id(char ret[HOST_BOOT_ID_SIZE])
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ret[0] = '\0';
	if (fd >= 0 && file_read_fd(fd, HOST_BOOT_ID_SIZE, &text, NULL) >= 0)
		(void)snprintf(ret, HOST_BOOT_ID_SIZE, "%.36s", text);
}

const char *instance_lost_reason(const struct record *r)
{
	char now[HOST_BOOT_ID_SIZE];
	host_boot_id(now);
	return r->boot_id && now[0] && !str_eq(r->boot_id, now) ? "the host went down while it ran"
								: "its supervisor was killed";
}

/* Is the record about this folder, or about another one that this is a copy of?  A VM of a pool may
 * have been renamed by somebody who was killed then; the folder is the same. */
static bool is_copy(int dir_fd, const char *name, const struct record *r)
{
	struct stat st;
	if (r->folder_inode == 0) /* an earlier version's */
		return !str_eq(r->name, name);
	return fstat(dir_fd, &st) < 0 || st.st_ino != r->folder_inode;
}

static bool is_over(const struct record *r)
{
	return r->state == RECORD_EXITED || r->state == RECORD_FAILED;
}

static int write_down(int dir_fd, struct record *r, const char *why, struct mvm_error *err)
{
	char now[RFC3339_SIZE];
	clock_format(clock_wall_ns() / NS_PER_S, now);
	free(r->error);
	free(r->ended_at);
	r->error = strdup(why);
	r->ended_at = strdup(now);
	if (!r->error || !r->ended_at)
		return mvm_error_oom(err);
	r->state = RECORD_FAILED;
	r->health = RECORD_HEALTH_NONE;
	r->vmm_pid = r->supervisor_pid = 0;
	confine_end(r->cgroup);
	free(TAKE_PTR(r->cgroup));
	free(TAKE_PTR(r->cgroup_limits));
	(void)unlinkat(dir_fd, INSTANCE_SOCKET_NAME, 0); /* nobody listens there */
	return record_save(dir_fd, r, err);
}

/* Whoever made the folder was killed before there was a record, and so long ago that nobody can
 * be about to write one. */
static bool was_never_started(int dir_fd)
{
	struct stat st;
	return faccessat(dir_fd, RECORD_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT &&
	       fstat(dir_fd, &st) == 0 && st.st_mtime + START_MAX_S < clock_wall_ns() / NS_PER_S &&
	       instance_folder_is_own(dir_fd);
}

int instance_settle(int instances_fd, const char *name, int logs_fd, const char **ret_why,
		    struct mvm_error *err)
{
	AUTO_DONE(record) r = { 0 };
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, name);
	if (dir_fd < 0 || !name_valid(NAME_INSTANCE, name) ||
	    lock_is_held_at(dir_fd, INSTANCE_LOCK_NAME))
		return 0;
	if (was_never_started(dir_fd)) {
		AUTO_CLOSE int unborn_fd = instance_folder_lock(instances_fd, dir_fd, "settle");
		if (unborn_fd >= 0) /* else the next one tries, as after a failure */
			(void)instance_folder_remove(instances_fd, name, dir_fd, false);
		return 0;
	}
	/* one without a record yet is being started: its lock is not ours to take */
	if (record_load(dir_fd, &r, NULL) < 0 || is_over(&r))
		return 0;
	AUTO_CLOSE int lock_fd = instance_folder_lock(instances_fd, dir_fd, "settle");
	if (lock_fd < 0)
		return 0; /* somebody else is at it */
	/* it may have ended properly between the two looks */
	record_done(&r);
	if (record_load(dir_fd, &r, NULL) < 0 || is_over(&r))
		return 0;
	bool copy = is_copy(dir_fd, name, &r);
	if (copy && !str_eq(r.name, name))
		return 0; /* a user's, and nothing is known of it */
	*ret_why = copy ? "its folder is a copy, in which nothing runs" : instance_lost_reason(&r);
	int result = write_down(dir_fd, &r, *ret_why, err);
	if (result < 0)
		return result;
	if (copy) /* what is not mvm's own stays */
		return 1;
	events_add(logs_fd, "failed", &r, *ret_why);
	if (r.attached || r.held || r.remove_at_end || r.purpose != RECORD_FOR_USER) {
		result = instance_folder_remove(instances_fd, name, dir_fd, false);
		if (result == -ENOTEMPTY) /* a user's files keep it, as a failed one */
			return 1;
		if (result < 0)
			return mvm_error_set(err, result, "cannot remove instance '%s': %s", name,
					     strerror(-result));
		events_add(logs_fd, "removed", &r, NULL);
	}
	return 1;
}
