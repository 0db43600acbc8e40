/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/box.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sock.h"

#define NOBODY 65534u /* the uid and gid in a user namespace */

/* The child's data, prepared before fork so that the child only makes system calls. */
struct plan {
	struct box *box;
	const struct process_spec *spec;
	unsigned flags;
	pid_t *pid; /* the process's, in memory that keeper and parent share */
	char uid_map[32], gid_map[32];
};

/* ---- namespaces ---- */

static void make_plan(struct plan *p, unsigned flags)
{
	p->flags = flags;
	snprintf(p->uid_map, sizeof(p->uid_map), "%u %u 1", NOBODY, (unsigned)geteuid());
	snprintf(p->gid_map, sizeof(p->gid_map), "%u %u 1", NOBODY, (unsigned)getegid());
}

static int write_text(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The supervisor is not dumpable, and so its /proc/self belongs to root until we change that. */
static int map_user(const struct plan *p)
{
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		return -errno;
	int r = write_text("/proc/self/setgroups", "deny");
	if (r == 0)
		r = write_text("/proc/self/uid_map", p->uid_map);
	if (r == 0)
		r = write_text("/proc/self/gid_map", p->gid_map);
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 && r == 0 ? -errno : r;
}

/* Is the root an initramfs?  That is the kernel's first root, which pivot_root(2) cannot exchange.
 * Its type tells. */
static bool is_first_root(void)
{
	struct statfs fs;
	return statfs("/", &fs) == 0 && (fs.f_type == RAMFS_MAGIC || fs.f_type == TMPFS_MAGIC);
}

/* Mount a copy of the root over the root, and go there. */
static int make_pivotable(void)
{
	AUTO_CLOSE int fd = open_tree(AT_FDCWD, "/",
				      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (fd < 0 || move_mount(fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    fchdir(fd) < 0 || chroot(".") < 0)
		return -errno;
	return 0;
}

static int make_namespaces(const struct plan *p)
{
	int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	if (p->flags & BOX_NO_NETWORK)
		flags |= CLONE_NEWNET;
	if (p->flags & BOX_NEW_USER)
		flags |= CLONE_NEWUSER;
	if (unshare(flags) < 0)
		return -errno;
	int r = p->flags & BOX_NEW_USER ? map_user(p) : 0;
	if (r < 0)
		return r;
	/* the host's unmounts reach us, and our mounts do not reach the host; in a chroot whose
	 * root is no mount, this fails */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	return is_first_root() ? make_pivotable() : 0;
}

/* ---- the root ---- */

/* Make an empty file system that is not mounted anywhere yet.  Returns its descriptor or -errno. */
static int make_root(void)
{
	AUTO_CLOSE int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	AUTO_CLOSE int root = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (root < 0)
		return -errno;
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			    MOUNT_ATTR_NOEXEC,
	};
	if (mount_setattr(root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return TAKE_FD(root);
}

/* Change the root of every process in this mount namespace. */
static int change_root(int root_fd)
{
	/* pivot_root(2) takes only a mounted file system, and every host of a VMM has /proc */
	if (move_mount(root_fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0)
		return -errno;
	return 0;
}

/* ---- the keeper ---- */

/* Move both to the numbers 0 and 1, and close all others, also the pipe to the parent. */
static int keep_only(int control_fd, int root_fd)
{
	int above = (control_fd > root_fd ? control_fd : root_fd) + 1;
	int control = fcntl(control_fd, F_DUPFD, above), root = fcntl(root_fd, F_DUPFD, above);
	if (control < 0 || root < 0 || dup2(control, 0) < 0 || dup2(root, 1) < 0 ||
	    syscall(SYS_close_range, 2u, ~0u, 0u) < 0)
		return -errno;
	return 0;
}

static _Noreturn void keep(const struct plan *p, int root_fd)
{
	char byte;
	if (keep_only(p->box->theirs, root_fd) < 0)
		_exit(1);
	if (read(0, &byte, 1) != 1)
		_exit(1); /* nobody waits for us any more */
	int r = change_root(1);
	_exit(write(0, &r, sizeof(r)) != (ssize_t)sizeof(r));
}

static int enter(void *arg)
{
	const struct plan *p = arg;
	int r = make_namespaces(p);
	AUTO_CLOSE int root_fd = r < 0 ? r : make_root();
	if (root_fd < 0)
		return root_fd == -ENOMEM || root_fd == -EMFILE ? root_fd : -ENOTSUP;
	/* make a sibling: our parent can wait for it, and knows its pid before it runs.  Unlike
	 * fork(3) this leaves libc's idea of the thread's number as it was, which matters only to
	 * a child that does not exec */
	long pid = syscall(SYS_clone, CLONE_PARENT | CLONE_NEWPID | CLONE_PARENT_SETTID | SIGCHLD,
			   NULL, p->pid, NULL, 0);
	if (pid < 0)
		return -errno;
	if (pid > 0)
		keep(p, root_fd);
	return p->spec->in_child ? p->spec->in_child(p->spec->in_child_arg) : 0;
}

static int before_exec(void *arg)
{
	const struct plan *p = arg;
	return p->spec->before_exec ? p->spec->before_exec(p->spec->in_child_arg) : 0;
}

/* ---- from outside ---- */

static int spawn(struct plan *plan, struct process *ret)
{
	struct box *b = plan->box;
	struct process_spec outer = *plan->spec;
	int pair[2];
	int r = sock_pair(pair);
	if (r < 0)
		return r;
	b->ours = pair[0];
	b->theirs = pair[1];
	outer.in_child = enter;
	outer.before_exec = before_exec;
	outer.in_child_arg = plan;
	r = process_spawn(&outer, &b->keeper);
	close(TAKE_FD(b->theirs));
	/* the process is our child, whether the start has failed or not */
	struct process p = { .pid = *plan->pid, .pidfd = -1 };
	if (r == 0)
		p.pidfd = (int)syscall(SYS_pidfd_open, p.pid, 0);
	if (r == 0 && p.pidfd < 0)
		r = -errno;
	if (r < 0)
		process_kill(&p);
	else
		*ret = p;
	return r;
}

int box_spawn(struct box *b, unsigned flags, const struct process_spec *spec, struct process *ret)
{
	struct plan plan = { .box = b, .spec = spec };
	plan.pid = mmap(NULL, sizeof(*plan.pid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (plan.pid == MAP_FAILED)
		return -errno;
	make_plan(&plan, flags);
	int r = spawn(&plan, ret);
	munmap(plan.pid, sizeof(*plan.pid));
	return r;
}

int box_seal(struct box *b)
{
	int code = 0;
	ssize_t n = -1;
	if (write(b->ours, "", 1) == 1) {
		do
			n = read(b->ours, &code, sizeof(code));
		while (n < 0 && errno == EINTR);
	}
	box_done(b);
	return n == (ssize_t)sizeof(code) ? code : -EPIPE;
}

void box_done(struct box *b)
{
	process_kill(&b->keeper);
	auto_close(&b->ours);
	auto_close(&b->theirs);
	*b = (struct box)BOX_NONE;
}

/* The descriptor's mount is the caller's, which nobody may copy here, so go by the path. */
int box_narrow(int fd)
{
	char link[FD_PATH_SIZE] = "/proc/self/cwd", path[PATH_MAX];
	struct stat ours, found;
	if (fd != AT_FDCWD)
		fd_path(fd, link);
	ssize_t len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return -ENOTSUP;
	path[len] = '\0';
	AUTO_CLOSE int tree = open_tree(AT_FDCWD, path,
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (tree < 0 || fstatat(tree, "", &found, AT_EMPTY_PATH) < 0 || stat(link, &ours) < 0 ||
	    ours.st_dev != found.st_dev || ours.st_ino != found.st_ino)
		return -ENOTSUP;
	if (fd == AT_FDCWD)
		return fchdir(tree) < 0 ? -errno : 0;
	return dup2(tree, fd) < 0 ? -errno : 0;
}

/* Try all of it, in a process that then ends. */
bool box_is_possible(unsigned flags)
{
	struct plan plan;
	int status = -1;
	make_plan(&plan, flags);
	pid_t pid = fork();
	if (pid == 0) {
		int root_fd = make_namespaces(&plan) < 0 ? -1 : make_root();
		_exit(root_fd < 0 || unshare(CLONE_NEWPID) < 0 || change_root(root_fd) < 0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0;
}
