/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "instance/confine.h"

#define OWN_PREFIX   "mvm-"
#define ROOTS_CGROUP "mvm.slice" /* systemd's too, when an admin sets its limits */
#define OTHERS	     "mvm-others"

/* allowance for the VMM itself: translated code, device buffers, threads beside the virtual CPUs.
 * QEMU has up to 64 threads for each kind of file, and no right to more than 128. */
#define VMM_MEMORY_MIB 512u
#define VMM_CPUS       1u
#define VMM_PIDS       160u

/* ... and for mvm-net, if the VM has one: its address space (vmm/net_helper.h), the kernel's
 * buffers of its sockets, its thread and the four processes that its user may have */
#define NETWORK_MEMORY_MIB 512u
#define NETWORK_CPUS	   1u
#define NETWORK_PIDS	   4u

#define PROCS_MAX (256u << 10)
#define FORKS_MAX 3 /* processes may fork while we move them */

char *confine_own_cgroup(void)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || file_read_fd(fd, 64u << 10, &text, NULL) < 0)
		return NULL;
	const char *line = str_starts(text, "0::/") ? text : strstr(text, "\n0::/");
	if (!line)
		return NULL;
	const char *path = strchr(line, '/');
	return str_printf(CONFINE_MOUNT "%.*s", (int)strcspn(path, "\n"), path);
}

static bool has_mark(int fd, const char *name)
{
	char value = 0;
	return fgetxattr(fd, name, &value, 1) == 1 && value == '1';
}

/* Has the init system delegated this cgroup to our user?  Its mode is no answer for root: root may
 * write to cgroups that belong to the init system. */
static bool is_marked(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	       (has_mark(fd, "user.delegate") || has_mark(fd, "trusted.delegate"));
}

/* Is it ours although nobody has marked it, like a container's root? */
static bool is_ours(int fd, const char *path)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid())
		return false;
	/* the root cgroup of a container has a type, the host's has none */
	return geteuid() != 0 ||
	       (str_eq(path, CONFINE_MOUNT "/") && faccessat(fd, "cgroup.type", F_OK, 0) == 0);
}

static int open_cgroup(const char *path)
{
	struct statfs fs;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	/* with cgroup v1 beside it, cgroup v2 is elsewhere, and has no controllers */
	return fs.f_type == CGROUP2_SUPER_MAGIC ? TAKE_FD(fd) : -ENOENT;
}

static bool has_limit(int fd, const char *name)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int file_fd = openat(fd, name, O_RDONLY | O_CLOEXEC);
	return file_fd >= 0 && file_read_fd(file_fd, 64, &text, NULL) == 0 &&
	       !str_starts(text, "max");
}

/* The parent's path, in place; false: it was the mount's. */
static bool go_up(char *path)
{
	char *slash = strrchr(path, '/');
	if (strlen(path) <= strlen(CONFINE_MOUNT "/") || !slash)
		return false;
	slash[slash < path + strlen(CONFINE_MOUNT "/")] = '\0'; /* keeps the mount's slash */
	return true;
}

/*
 * Open this cgroup, or the nearest one above it, that is delegated to our user.
 *
 * Returns a descriptor, with its path in *path; -EPERM when none is; -EBUSY when a cgroup below has
 * a limit.  A VM must not leave a limit that somebody has set for whoever starts it.
 */
static int open_delegated(char *path)
{
	do {
		AUTO_CLOSE int fd = open_cgroup(path);
		if (fd < 0)
			return fd;
		if (is_marked(fd))
			return TAKE_FD(fd);
		if (has_limit(fd, "memory.max") || has_limit(fd, "cpu.max"))
			return -EBUSY;
	} while (go_up(path));
	return -EPERM;
}

static int open_if_ours(const char *path)
{
	AUTO_CLOSE int fd = open_cgroup(path);
	return fd >= 0 && is_ours(fd, path) ? TAKE_FD(fd) : -EPERM;
}

/* Open root's cgroup for VMs; it is made if it is missing. */
static int open_roots(void)
{
	AUTO_CLOSE int top_fd = open_cgroup(CONFINE_MOUNT);
	if (top_fd < 0)
		return top_fd;
	if (geteuid() != 0 || faccessat(top_fd, "cgroup.type", F_OK, 0) == 0)
		return -EPERM;		     /* in a container others decide */
	mkdirat(top_fd, ROOTS_CGROUP, 0755); /* opening it tells */
	return dir_open_at(top_fd, ROOTS_CGROUP);
}

/* Find a parent when nobody has named one. */
static int find_parent(char **ret_path)
{
	AUTO_FREE char *own = confine_own_cgroup();
	if (!own)
		return -ENOENT;
	size_t len = strlen(own), others = strlen("/" OTHERS);
	if (len > others && str_eq(own + len - others, "/" OTHERS))
		own[len - others] = '\0'; /* make_room() has moved us there */
	AUTO_FREE char *path = strdup(own);
	if (!path)
		return -ENOMEM;
	AUTO_CLOSE int fd = open_delegated(path);
	if (fd >= 0) {
		*ret_path = TAKE_PTR(path);
		return TAKE_FD(fd);
	}
	AUTO_CLOSE int own_fd = open_if_ours(own);
	if (own_fd >= 0) {
		*ret_path = TAKE_PTR(own);
		return TAKE_FD(own_fd);
	}
	AUTO_CLOSE int roots_fd = fd == -EPERM ? open_roots() : fd;
	if (roots_fd < 0)
		return roots_fd;
	*ret_path = strdup(CONFINE_MOUNT "/" ROOTS_CGROUP);
	return *ret_path ? TAKE_FD(roots_fd) : -ENOMEM;
}

int confine_open_parent(char **ret_path)
{
	const char *named = getenv("MVM_CGROUP");
	if (str_empty(named))
		return find_parent(ret_path);
	AUTO_CLOSE int fd = open_cgroup(named);
	if (fd < 0)
		return fd;
	*ret_path = strdup(named);
	return *ret_path ? TAKE_FD(fd) : -ENOMEM;
}

/* Returns 0 or -errno. */
static int write_file(int dir_fd, const char *name, const char *text)
{
	ssize_t len = (ssize_t)strlen(text);
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, (size_t)len);
	if (n < 0)
		return -errno;
	return n == len ? 0 : -EIO;
}

/*
 * A cgroup with processes in it takes no limits for its children.  A unit with Delegate=yes begins
 * that way, with us in it, and may do with its cgroup as it likes: move them all into a child.
 */
static void make_room(int parent_fd)
{
	AUTO_FREE char *text = NULL;
	char *rest = NULL;
	AUTO_CLOSE int to_fd = dir_make_at(parent_fd, OTHERS);
	AUTO_CLOSE int fd = openat(parent_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (to_fd < 0 || fd < 0 || file_read_fd(fd, PROCS_MAX, &text, NULL) < 0)
		return;
	for (char *pid = strtok_r(text, "\n", &rest); pid; pid = strtok_r(NULL, "\n", &rest))
		write_file(to_fd, "cgroup.procs", pid); /* it may have ended */
}

/* Give children of this cgroup the controller.  A failure shows when its file is missing. */
static void enable(int parent_fd, const char *controller)
{
	int r = write_file(parent_fd, "cgroup.subtree_control", controller);
	for (int i = 0; i < FORKS_MAX && r == -EBUSY && is_marked(parent_fd); i++) {
		make_room(parent_fd);
		r = write_file(parent_fd, "cgroup.subtree_control", controller);
	}
}

/* Set the limits.  Returns the controllers that could be set, as "memory cpu pids". */
static char *set_limits(int parent_fd, int fd, const struct record *r, bool network)
{
	AUTO_DONE(strbuf) set = { 0 };
	char memory[32], cpu[48], pids[16];
	unsigned memory_mib = VMM_MEMORY_MIB + (network ? NETWORK_MEMORY_MIB : 0);
	unsigned cpus = r->vcpus + VMM_CPUS + (network ? NETWORK_CPUS : 0);
	snprintf(memory, sizeof(memory), "%llu",
		 ((unsigned long long)r->mem_mib + memory_mib) << 20);
	snprintf(cpu, sizeof(cpu), "%u 100000", cpus * 100000u);
	snprintf(pids, sizeof(pids), "%u", r->vcpus + VMM_PIDS + (network ? NETWORK_PIDS : 0));
	const struct {
		const char *controller, *enable, *file, *value;
	} limits[] = {
		{ "memory", "+memory", "memory.max", memory },
		{ "cpu", "+cpu", "cpu.max", cpu },
		{ "pids", "+pids", "pids.max", pids },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(limits); i++) {
		enable(parent_fd, limits[i].enable);
		if (write_file(fd, limits[i].file, limits[i].value) == 0)
			strbuf_addf(&set, "%s%s", set.len ? " " : "", limits[i].controller);
	}
	return strbuf_take(&set);
}

char *confine_limits(int parent_fd)
{
	AUTO_FREE char *text = NULL;
	AUTO_DONE(strbuf) found = { 0 };
	AUTO_CLOSE int fd = openat(parent_fd, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
	char *rest = NULL;
	if (fd < 0 || file_read_fd(fd, 4096, &text, NULL) < 0)
		return strdup("");
	for (char *name = strtok_r(text, " \n", &rest); name; name = strtok_r(NULL, " \n", &rest)) {
		if (str_eq(name, "memory") || str_eq(name, "cpu") || str_eq(name, "pids"))
			strbuf_addf(&found, "%s%s", found.len ? ", " : "", name);
	}
	return found.len ? strbuf_take(&found) : strdup("");
}

/* Returns 0 or -errno. */
static int move(int fd, int64_t pid)
{
	char text[24];
	snprintf(text, sizeof(text), "%lld", (long long)pid);
	return write_file(fd, "cgroup.procs", text);
}

void confine(struct record *r, int64_t network_pid)
{
	AUTO_FREE char *parent = NULL;
	AUTO_CLOSE int parent_fd = confine_open_parent(&parent);
	if (parent_fd < 0 || r->vmm_pid <= 0)
		return;
	assert(parent);
	char name[128];
	snprintf(name, sizeof(name), OWN_PREFIX "%s-%d", r->name, (int)getpid());
	if (mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST)
		return;
	AUTO_CLOSE int fd = dir_open_at(parent_fd, name);
	if (fd < 0)
		return;
	AUTO_FREE char *limits = set_limits(parent_fd, fd, r, network_pid > 0);
	if (move(fd, r->vmm_pid) < 0) {
		unlinkat(parent_fd, name, AT_REMOVEDIR);
		return;
	}
	free(r->cgroup);
	free(r->cgroup_limits);
	r->cgroup = str_printf("%s%s%s", parent, parent[strlen(parent) - 1] == '/' ? "" : "/",
			       name);
	r->cgroup_limits = TAKE_PTR(limits);
	confine_network(r, network_pid);
}

void confine_network(const struct record *r, int64_t pid)
{
	AUTO_CLOSE int fd = r->cgroup ? open_cgroup(r->cgroup) : -1;
	if (fd >= 0 && pid > 0)
		move(fd, pid); /* it may have ended */
}

void confine_end(const char *cgroup)
{
	const char *name = cgroup ? strrchr(cgroup, '/') : NULL;
	if (name && str_starts(name + 1, OWN_PREFIX))
		rmdir(cgroup); /* if it stays, an empty cgroup costs nothing */
}
