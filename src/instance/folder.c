/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/sock.h"
#include "instance/control.h"
#include "instance/handover.h"
#include "instance/instance.h"
#include "instance/logfile.h"
#include "model/name.h"
#include "net/agent.h"
#include "net/wire.h"

#define CMDLINE_MAX ((size_t)4096 * 4)
#define ALIVE_MS    INT64_C(1000)  /* for a proof of life; a slow supervisor is killed as well */
#define KILLED_MS   INT64_C(30000) /* for a killed one's end, which is sure: the host may be busy */

/* Prefix of a folder that is no instance yet, or no longer.  No instance can have such a name. */
#define NAMELESS ".vm."

void instance_folder_done(struct instance_folder *f)
{
	auto_close(&f->dir_fd);
	auto_close(&f->lock_fd);
	auto_close(&f->listen_fd);
	*f = (struct instance_folder)INSTANCE_FOLDER_NONE;
}

int instance_folder_close_gate(int instances_fd)
{
	/* open it once more: flock(2) locks an open description, and instances_fd's is shared */
	AUTO_CLOSE int fd = openat(instances_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return TAKE_FD(fd);
}

/* Make lock, socket and record.  The record comes last, so a reader of it finds the others. */
static int fill(const struct record *record, struct instance_folder *f)
{
	f->lock_fd = lock_take_at(f->dir_fd, INSTANCE_LOCK_NAME, 0, "", NULL);
	if (f->lock_fd < 0)
		return f->lock_fd;
	f->listen_fd = sock_listen_at(f->dir_fd, INSTANCE_SOCKET_NAME);
	return f->listen_fd < 0 ? f->listen_fd : record_save(f->dir_fd, record, NULL);
}

int instance_folder_make(int instances_fd, const struct record *record, struct instance_folder *ret)
{
	AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
	char name[64];
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	if (gate_fd < 0)
		return gate_fd;
	f.dir_fd = dir_make_unique_at(instances_fd, NAMELESS, name);
	int r = f.dir_fd < 0 ? f.dir_fd : fill(record, &f);
	if (r == 0 &&
	    renameat2(instances_fd, name, instances_fd, record->name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0) {
		tree_remove_at(instances_fd, name); /* the first error is the one to report */
		return r;
	}
	*ret = f;
	f = (struct instance_folder)INSTANCE_FOLDER_NONE;
	return 0;
}

static int take_lock(int dir_fd, const char *what)
{
	return lock_take_at(dir_fd, INSTANCE_LOCK_NAME, LOCK_NOWAIT | LOCK_PAST_LOOKS, what, NULL);
}

/* May an instance with this record start again? */
static bool has_ended(int dir_fd)
{
	AUTO_DONE(record) rec = { 0 };
	return record_load(dir_fd, &rec, NULL) == 0 && record_is_over(&rec);
}

int instance_folder_take(int instances_fd, int dir_fd, const struct record *record,
			 struct instance_folder *ret)
{
	AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	if (gate_fd < 0)
		return gate_fd;
	if (!file_is_at(dir_fd, instances_fd, record->name))
		return -ENOENT;
	f.dir_fd = dir_open_at(dir_fd, ".");
	if (f.dir_fd < 0)
		return f.dir_fd;
	f.lock_fd = take_lock(dir_fd, "");
	if (f.lock_fd < 0)
		return f.lock_fd;
	if (!has_ended(dir_fd)) /* another start was faster, and its VM was lost */
		return -EBUSY;
	if (unlinkat(dir_fd, INSTANCE_SOCKET_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	f.listen_fd = sock_listen_at(dir_fd, INSTANCE_SOCKET_NAME);
	int r = f.listen_fd < 0 ? f.listen_fd : record_save(dir_fd, record, NULL);
	if (r < 0)
		return r;
	*ret = f;
	f = (struct instance_folder)INSTANCE_FOLDER_NONE;
	return 0;
}

static int check_rename(int instances_fd, int dir_fd, const struct record *record, const char *to,
			struct mvm_error *err)
{
	struct stat st;
	int r = name_check(NAME_INSTANCE, to, err);
	if (r < 0)
		return r;
	if (record->attached || record->held)
		return mvm_error_set(err, -EINVAL,
				     "instance '%s' ends with the command that started it, which "
				     "knows it by this name",
				     record->name);
	if (!file_is_at(dir_fd, instances_fd, record->name)) {
		r = mvm_error_set(err, -ENOENT, "instance '%s' was removed or renamed meanwhile",
				  record->name);
		return mvm_error_reason(err, r, "no-instance", record->name);
	}
	if (fstatat(instances_fd, to, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* a race is no harm: RENAME_NOREPLACE checks again */
	r = mvm_error_set(err, -EEXIST, "there is an instance '%s' already", to);
	return mvm_error_reason(err, r, "instance-exists", to);
}

int instance_folder_rename(int instances_fd, int dir_fd, struct record *record, const char *to,
			   struct mvm_error *err)
{
	struct record renamed = *record; /* borrows everything that it points to */
	AUTO_FREE char *name = strdup(to);
	if (!name)
		return mvm_error_oom(err);
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	if (gate_fd < 0)
		return mvm_error_set(err, gate_fd, "cannot rename instance '%s': %s", record->name,
				     strerror(-gate_fd));
	int r = check_rename(instances_fd, dir_fd, record, to, err);
	renamed.name = name;
	renamed.former_name = record->name;
	if (r == 0)
		r = record_save(dir_fd, &renamed, err);
	if (r < 0)
		return r;
	if (renameat2(instances_fd, record->name, instances_fd, to, RENAME_NOREPLACE) < 0) {
		r = mvm_error_set(err, -errno, "cannot name instance '%s' '%s': %s", record->name,
				  to, strerror(errno));
		record_save(dir_fd, record, NULL); /* if it stays, the folder's name counts */
		return r;
	}
	free(record->former_name);
	record->former_name = record->name;
	record->name = TAKE_PTR(name);
	return 0;
}

int instance_folder_name_record(const char *name, struct record *r)
{
	if (str_eq(r->name, name) || !str_eq(r->former_name, name))
		return 0;
	char *copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	free(r->name);
	r->name = copy;
	return 0;
}

int instance_folder_put(int instances_fd, const char *name, int dir_fd, const char *file,
			const char *text)
{
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	if (gate_fd < 0)
		return gate_fd;
	if (!file_is_at(dir_fd, instances_fd, name))
		return -ENOENT;
	return file_replace_unsynced_at(dir_fd, file, text, strlen(text), 0600);
}

int instance_folder_lock(int instances_fd, int dir_fd, const char *what)
{
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	return gate_fd < 0 ? gate_fd : take_lock(dir_fd, what);
}

/* Take the folder out of sight in one step.  The gate keeps other processes that have it open from
 * making a new lock in it. */
static int remove_rest(int instances_fd, const char *name)
{
	char nameless[64];
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	if (gate_fd < 0)
		return gate_fd;
	int r = rename_unique_at(instances_fd, name, instances_fd, NAMELESS, nameless);
	return r < 0 ? r : tree_remove_at(instances_fd, nameless);
}

int instance_folder_remove(int instances_fd, const char *name, int dir_fd, bool by_name)
{
	AUTO_DONE(strv) names = { 0 };

	if (!file_is_at(dir_fd, instances_fd, name))
		return -ENOENT;
	int pure = by_name ? 1 : instance_folder_is_pure(dir_fd, true, NULL);
	if (pure <= 0)
		return pure < 0 ? pure : -ENOTEMPTY;
	int r = dir_list(dir_fd, &names);
	/* disks may be large, so remove them before the gate is closed.  The lock and the record
	 * stay until then: they show that a removal is under way and not complete */
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		if (!str_eq(names.v[i], INSTANCE_LOCK_NAME) && !str_eq(names.v[i], RECORD_NAME))
			r = tree_remove_at(dir_fd, names.v[i]);
	}
	return r < 0 ? r : remove_rest(instances_fd, name);
}

void instance_folder_sweep(int instances_fd, const char *name)
{
	struct stat st;
	if (!name_is_unique(name, NAMELESS))
		return;
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	AUTO_CLOSE int dir_fd = gate_fd < 0 ? gate_fd : dir_open_at(instances_fd, name);
	if (dir_fd >= 0 && fstat(dir_fd, &st) == 0 && st.st_uid == geteuid() &&
	    instance_folder_is_pure(dir_fd, false, NULL) == 1)
		tree_remove_at(instances_fd, name); /* after a failure the next sweep tries again */
}

/* Does this process run the supervisor's program, for this instance?  A VM that waited in a pool,
 * or was renamed, had another name when its supervisor began. */
static bool runs_supervisor(int proc_fd, int pid, int dir_fd, const char *name)
{
	AUTO_FREE char *words = NULL;
	AUTO_DONE(record) rec = { 0 };
	char path[32];
	size_t len = 0;
	snprintf(path, sizeof(path), "%d/cmdline", pid);
	if (file_read_at(proc_fd, path, CMDLINE_MAX, &words, &len) < 0)
		return false;
	const char *slash = strrchr(words, '/');
	size_t first = strlen(words) + 1;
	if (!str_eq(slash ? slash + 1 : words, SUPERVISOR_PROGRAM) || first >= len)
		return false;
	return str_eq(words + first, name) ||
	       (record_load(dir_fd, &rec, NULL) == 0 && (rec.from_pool || rec.former_name));
}

/* Is it the instance's supervisor?  Its working folder is the instance's.  Only root may see that
 * of a process that nobody may trace; to others the command line tells. */
static bool is_supervisor(int proc_fd, int pid, int dir_fd, const char *name)
{
	struct stat ours, theirs;
	char cwd[32];
	snprintf(cwd, sizeof(cwd), "%d/cwd", pid);
	if (fstat(dir_fd, &ours) < 0)
		return false;
	if (fstatat(proc_fd, cwd, &theirs, 0) == 0)
		return ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
	return errno == EACCES && runs_supervisor(proc_fd, pid, dir_fd, name);
}

/* Kill the lock's holder, which has written its pid into the lock, if it is a supervisor.  That is
 * the warden, with which the supervisor's other process and the VMM die.  Returns whether. */
static bool kill_supervisor(int dir_fd, const char *name)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0 ||
	    file_read_at(dir_fd, INSTANCE_LOCK_NAME, LOCK_HOLDER_SIZE, &text, NULL) < 0)
		return false;
	int pid = (int)strtol(text, NULL, 10);
	/* open the pidfd before reading /proc, so that both are about one process */
	AUTO_CLOSE int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	return pidfd >= 0 && is_supervisor(proc_fd, pid, dir_fd, name) &&
	       syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
}

/* Ask the owner to end.  -ETIMEDOUT when it does not answer, or is not even alive.  0 says nothing:
 * a broken supervisor may promise an end, or hang up, and go on. */
static int ask_to_end(int dir_fd, int64_t deadline_ns, const struct mvm_progress *progress,
		      struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	struct control c;
	int fd = sock_try_connect_at(dir_fd, INSTANCE_SOCKET_NAME);
	if (fd < 0)
		return fd == -EAGAIN ? -ETIMEDOUT : 0; /* it takes no clients; or is gone */
	int r = control_init(&c, fd);
	c.progress = progress;
	control_watch(&c, 0, ALIVE_MS);
	wire_put_u64(&args, FIELD_TIMEOUT_MS, 0);
	if (r == 0)
		r = control_call(&c, CALL_STOP, NULL, &args, deadline_ns, NULL, err);
	control_done(&c);
	return r == -ETIMEDOUT || r == -ENOMEM || r == -ECANCELED ? r : 0;
}

int instance_folder_await(int dir_fd, const char *name, int wake_fd, int64_t deadline_ns,
			  const struct mvm_progress *progress, struct mvm_error *err)
{
	char holder[LOCK_HOLDER_SIZE];
	int r = lock_await_at(dir_fd, INSTANCE_LOCK_NAME, wake_fd, deadline_ns, progress);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "it");
	if (r < 0 && r != -ETIMEDOUT)
		return mvm_error_set(err, r, "cannot wait for instance '%s': %s", name,
				     strerror(-r));
	if (r == 0)
		return 0;
	lock_read_holder_at(dir_fd, INSTANCE_LOCK_NAME, holder);
	r = mvm_error_set(err, r, "instance '%s' does not end: process %s holds its lock", name,
			  holder);
	return mvm_error_reason(err, r, "supervisor-silent", name);
}

static int await_lock(int dir_fd, int64_t deadline_ns, const struct mvm_progress *progress)
{
	return lock_await_at(dir_fd, INSTANCE_LOCK_NAME, -1, deadline_ns, progress);
}

int instance_folder_kill(int dir_fd, const char *name, int64_t timeout_ms,
			 const struct mvm_progress *progress, struct mvm_error *err)
{
	char holder[LOCK_HOLDER_SIZE];
	int64_t deadline_ns = clock_deadline_ns(timeout_ms);
	int r = ask_to_end(dir_fd, deadline_ns, progress, err);
	if (r == -ENOMEM)
		return r;
	if (r == 0)
		r = await_lock(dir_fd, deadline_ns, progress);
	if (r == -ETIMEDOUT) {
		int64_t ms = kill_supervisor(dir_fd, name) ? KILLED_MS : timeout_ms;
		r = await_lock(dir_fd, clock_deadline_ns(ms), progress);
	}
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "it");
	if (r == 0)
		return 0;
	if (r != -ETIMEDOUT)
		return mvm_error_set(err, r, "cannot end instance '%s': %s", name, strerror(-r));
	lock_read_holder_at(dir_fd, INSTANCE_LOCK_NAME, holder);
	return mvm_error_set(err, -EBUSY, "cannot end instance '%s': process %s holds its lock",
			     name, holder);
}
