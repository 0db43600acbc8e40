/* SPDX-License-Identifier: Apache-2.0 */
/* Settles instances that were left behind: their supervisor was killed, or the host went down. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "instance/confine.h"
#include "instance/events.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/saved.h"
#include "instance/volume.h"
#include "model/name.h"

void host_boot_id(char ret[HOST_BOOT_ID_SIZE])
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ret[0] = '\0';
	if (fd >= 0 && file_read_fd(fd, HOST_BOOT_ID_SIZE, &text, NULL) >= 0)
		snprintf(ret, HOST_BOOT_ID_SIZE, "%.36s", text);
}

int instance_note_lost(struct record *r)
{
	AUTO_DONE(strbuf) why = { 0 };
	char now[HOST_BOOT_ID_SIZE];
	host_boot_id(now);
	bool went_down = r->boot_id && now[0] && !str_eq(r->boot_id, now);
	strbuf_adds(&why,
		    went_down ? "the host went down while it ran" : "its supervisor was killed");
	r->volumes_lost = r->state != RECORD_STARTING && volumes_come_back(r);
	for (size_t i = 0; i < r->n_volumes && r->volumes_lost; i++) {
		const struct record_volume *v = &r->volumes[i];
		if (v->write_back)
			strbuf_addf(&why, "; '%s' did not come back to '%s'", v->guest, v->host);
	}
	free(r->error);
	r->error = strbuf_take(&why);
	return r->error ? 0 : -ENOMEM;
}

bool instance_was_suspended(int dir_fd, const struct record *r)
{
	return r->purpose == RECORD_FOR_USER && !r->attached &&
	       r->continues != RECORD_CONTINUES_FORK && saved_is_there(dir_fd);
}

/* Remove what a killed writer of the record has left.  The lock is ours, so nobody writes. */
static void sweep_files(int dir_fd)
{
	AUTO_DONE(strv) names = { 0 };
	if (dir_list(dir_fd, &names) < 0)
		return;
	for (size_t i = 0; i < names.n; i++)
		if (name_is_unique(names.v[i], "file."))
			unlinkat(dir_fd, names.v[i], 0); /* it does no harm */
}

/* r->error: NULL when it is suspended. */
static int write_down(int dir_fd, struct record *r, struct mvm_error *err)
{
	char now[RFC3339_SIZE];
	clock_format(clock_wall_ns() / NS_PER_S, now);
	free(TAKE_PTR(r->ended_at));
	r->ended_at = r->error ? strdup(now) : NULL;
	if (r->error && !r->ended_at)
		return mvm_error_oom(err);
	r->state = r->error ? RECORD_FAILED : RECORD_SUSPENDED;
	r->continues = RECORD_CONTINUES_NOTHING;
	saved_sweep(dir_fd);
	sweep_files(dir_fd);
	r->health = RECORD_HEALTH_NONE;
	r->vmm_pid = r->supervisor_pid = 0;
	r->stopping = false;
	confine_end(r->cgroup);
	free(TAKE_PTR(r->isolation));
	free(TAKE_PTR(r->cgroup));
	free(TAKE_PTR(r->cgroup_limits));
	unlinkat(dir_fd, INSTANCE_SOCKET_NAME, 0); /* if it stays, it has no listener */
	return record_save(dir_fd, r, err);
}

/* A folder that mvm knows nothing about is left alone.  Returns 0 if it has just been removed. */
static int stray(int instances_fd, const char *name, int dir_fd)
{
	return file_is_at(dir_fd, instances_fd, name) ? INSTANCE_STRAY : 0;
}

static int settle(int instances_fd, const char *name, int dir_fd, struct record *r, int logs_fd,
		  char **ret_why, struct mvm_error *err)
{
	bool copy = instance_folder_has_moved(dir_fd, r);
	free(TAKE_PTR(r->error));
	if (!copy && instance_was_suspended(dir_fd, r)) {
		int written = write_down(dir_fd, r, err);
		if (written == 0)
			events_add(logs_fd, "suspended", r, NULL);
		return written;
	}
	if (copy)
		r->error = strdup("its folder is a copy of another instance's folder");
	else
		instance_note_lost(r);
	char *why = r->error ? strdup(r->error) : NULL;
	if (!why)
		return mvm_error_oom(err);
	int result = write_down(dir_fd, r, err);
	if (result < 0) {
		free(why);
		return result;
	}
	*ret_why = why;
	if (copy) /* the user made it, so it stays */
		return INSTANCE_LOST;
	events_add(logs_fd, "failed", r, why);
	if (!r->held && !record_removes_itself(r))
		return INSTANCE_LOST;
	result = instance_folder_remove(instances_fd, name, dir_fd, false);
	if (result == -ENOTEMPTY) /* it has a user's files: keep it as failed */
		return INSTANCE_LOST;
	if (result < 0)
		return mvm_error_set(err, result, "cannot remove instance '%s': %s", name,
				     strerror(-result));
	events_add(logs_fd, "removed", r, NULL);
	return INSTANCE_LOST;
}

/* The supervisor wrote down the end and was killed before it removed the instance.  Returns 0. */
static int finish_removal(int instances_fd, const char *name, int dir_fd, const struct record *r,
			  int logs_fd)
{
	if (record_removes_itself(r) && !instance_folder_has_moved(dir_fd, r) &&
	    instance_folder_remove(instances_fd, name, dir_fd, false) == 0)
		events_add(logs_fd, "removed", r, NULL);
	return 0; /* after a failure the next command tries again */
}

static int settle_one(int instances_fd, const char *name, int logs_fd, bool has_starter,
		      char **ret_why, struct mvm_error *err)
{
	AUTO_DONE(record) r = { 0 };
	instance_folder_sweep(instances_fd, name);
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, name);
	if (dir_fd < 0 || !name_valid(NAME_INSTANCE, name) ||
	    lock_is_held_at(dir_fd, INSTANCE_LOCK_NAME))
		return 0;
	int loaded = record_load(dir_fd, &r, NULL);
	if (loaded == -ENOMEM || loaded == -EOPNOTSUPP) /* EOPNOTSUPP: a newer mvm's record */
		return 0;
	if (loaded < 0 && instance_folder_is_own(dir_fd))
		return 0; /* damaged; lists show it as failed */
	if (loaded < 0 || instance_folder_is_copy(dir_fd, name, &r))
		return stray(instances_fd, name, dir_fd);
	if (record_is_over(&r) && !record_removes_itself(&r))
		return 0;
	AUTO_CLOSE int lock_fd = instance_folder_lock(instances_fd, dir_fd, "settle");
	if (lock_fd < 0)
		return 0; /* another process settles it */
	/* it may have ended properly since we read the record */
	record_done(&r);
	if (record_load(dir_fd, &r, NULL) < 0)
		return 0;
	if (record_is_over(&r))
		return finish_removal(instances_fd, name, dir_fd, &r, logs_fd);
	if (has_starter)
		r.held = false;
	if (instance_folder_name_record(name, &r) < 0)
		return mvm_error_oom(err);
	return settle(instances_fd, name, dir_fd, &r, logs_fd, ret_why, err);
}

int instance_settle(int instances_fd, const char *name, int logs_fd, char **ret_why,
		    struct mvm_error *err)
{
	return settle_one(instances_fd, name, logs_fd, false, ret_why, err);
}

int instance_settle_start(int instances_fd, const char *name, int logs_fd)
{
	AUTO_FREE char *why = NULL;
	return settle_one(instances_fd, name, logs_fd, true, &why, NULL);
}
