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
#include "instance/data_disk.h"
#include "instance/instance.h"
#include "instance/logfile.h"
#include "net/agent.h"
#include "net/wire.h"

#define KILL_MS INT64_C(10000)

static bool is_known(const char *name)
{
	/* mem.bin: --private-memory, until the VMM has mapped it */
	static const char *const names[] = {
		INSTANCE_LOCK_NAME, RECORD_NAME,       INSTANCE_SOCKET_NAME,
		"supervisor.log",   CONSOLE_LOG_NAME,  CONSOLE_LOG_NAME LOGFILE_OLD_SUFFIX,
		"mem.bin",	    WORKLOAD_LOG_NAME, WORKLOAD_LOG_NAME LOGFILE_OLD_SUFFIX,
		DATA_DISK_NAME,
	};

	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (str_eq(name, names[i]))
			return true;
	}
	/* records that are being replaced; Firecracker's working folder or jail */
	return name_is_unique(name, "file.") || name_is_unique(name, "firecracker-");
}

static bool has(int dir_fd, const char *name)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

bool instance_folder_is_own(int dir_fd)
{
	AUTO_DONE(strv) names = { 0 };
	struct stat st;

	if (has(dir_fd, RECORD_NAME) || has(dir_fd, INSTANCE_LOCK_NAME))
		return true;
	return fstat(dir_fd, &st) == 0 && (st.st_mode & 0777) == 0700 &&
	       dir_list(dir_fd, &names) == 0 && names.n == 0;
}

void instance_folder_done(struct instance_folder *f)
{
	auto_close(&f->dir_fd);
	auto_close(&f->lock_fd);
	auto_close(&f->listen_fd);
	*f = (struct instance_folder)INSTANCE_FOLDER_NONE;
}

/* Closing the result opens the gate again. */
static int close_gate(int instances_fd)
{
	/* a descriptor of our own: flock(2) belongs to what open(2) has made */
	AUTO_CLOSE int fd = openat(instances_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return TAKE_FD(fd);
}

/* The record comes last: whoever can read it finds everything else. */
static int fill(int instances_fd, const struct record *record, struct instance_folder *f)
{
	f->dir_fd = dir_open_at(instances_fd, record->name);
	if (f->dir_fd < 0)
		return f->dir_fd;
	f->lock_fd = lock_take_at(f->dir_fd, INSTANCE_LOCK_NAME, 0, "", NULL);
	if (f->lock_fd < 0)
		return f->lock_fd;
	f->listen_fd = sock_listen_at(f->dir_fd, INSTANCE_SOCKET_NAME);
	return f->listen_fd < 0 ? f->listen_fd : record_save(f->dir_fd, record, NULL);
}

int instance_folder_make(int instances_fd, const struct record *record, struct instance_folder *ret)
{
	AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
	AUTO_CLOSE int gate_fd = close_gate(instances_fd);
	if (gate_fd < 0)
		return gate_fd;
	if (mkdirat(instances_fd, record->name, 0700) < 0)
		return -errno;
	int r = fill(instances_fd, record, &f);
	if (r < 0) {
		(void)tree_remove_at(instances_fd, record->name); /* why it is incomplete counts */
		return r;
	}
	*ret = f;
	f = (struct instance_folder)INSTANCE_FOLDER_NONE;
	return 0;
}

int instance_folder_lock(int instances_fd, int dir_fd, const char *what)
{
	AUTO_CLOSE int gate_fd = close_gate(instances_fd);
	return gate_fd < 0 ? gate_fd
			   : lock_take_at(dir_fd, INSTANCE_LOCK_NAME, LOCK_NOWAIT, what, NULL);
}

int instance_folder_remove(int instances_fd, const char *name, int dir_fd, bool by_name)
{
	AUTO_DONE(strv) names = { 0 };

	if (!file_is_at(dir_fd, instances_fd, name))
		return -ENOENT;
	int r = dir_list(dir_fd, &names);
	for (size_t i = 0; r == 0 && !by_name && i < names.n; i++)
		r = is_known(names.v[i]) ? 0 : -ENOTEMPTY;
	/* disks may be large, so not behind the gate; the lock says that somebody is at work here
	 */
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		if (!str_eq(names.v[i], INSTANCE_LOCK_NAME))
			r = tree_remove_at(dir_fd, names.v[i]);
	}
	AUTO_CLOSE int gate_fd = r < 0 ? r : close_gate(instances_fd);
	return gate_fd < 0 ? gate_fd : tree_remove_at(instances_fd, name);
}

/* The lock's holder has written its pid there.  It is a supervisor if the folder is its own. */
static void kill_supervisor(int dir_fd)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat ours, theirs;
	char cwd[32];
	if (proc_fd < 0 ||
	    file_read_at(dir_fd, INSTANCE_LOCK_NAME, LOCK_HOLDER_SIZE, &text, NULL) < 0)
		return;
	int pid = (int)strtol(text, NULL, 10);
	/* first the descriptor, then the look: so both are about one process */
	AUTO_CLOSE int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	(void)snprintf(cwd, sizeof(cwd), "%d/cwd", pid);
	if (pidfd >= 0 && fstat(dir_fd, &ours) == 0 && fstatat(proc_fd, cwd, &theirs, 0) == 0 &&
	    ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

/* -ETIMEDOUT when the owner does not answer; an owner that hangs up is about to be gone. */
static int ask_to_end(int dir_fd, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	struct control c;
	int fd = sock_connect_at(dir_fd, INSTANCE_SOCKET_NAME);
	if (fd < 0)
		return 0; /* nobody listens any more */
	int r = control_init(&c, fd);
	wire_put_u64(&args, FIELD_TIMEOUT_MS, 0);
	if (r == 0)
		r = control_call(&c, CALL_STOP, NULL, &args, clock_deadline_ns(KILL_MS), NULL, err);
	control_done(&c);
	return r == -ETIMEDOUT || r == -ENOMEM ? r : 0;
}

int instance_folder_kill(int dir_fd, const char *name, struct mvm_error *err)
{
	int r = ask_to_end(dir_fd, err);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		kill_supervisor(dir_fd);
	r = lock_wait_at(dir_fd, INSTANCE_LOCK_NAME);
	return r < 0 ? mvm_error_set(err, r, "cannot end instance '%s': %s", name, strerror(-r))
		     : 0;
}
