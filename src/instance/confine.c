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

#define OWN_PREFIX "mvm-"

/* allowance for the VMM itself: translated code, device buffers, threads beside the virtual CPUs */
#define VMM_MEMORY_MIB 512u
#define VMM_CPUS       1u
#define VMM_PIDS       1024u

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

/* May we make cgroups below this one?  Its mode is no answer for root: root may write to cgroups
 * that belong to the init system. */
static bool is_delegated(int fd)
{
	struct stat st;
	if (has_mark(fd, "user.delegate") || has_mark(fd, "trusted.delegate"))
		return true;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid())
		return false;
	if (geteuid() != 0)
		return true;
	/* the root cgroup of a container has a type, the host's has none */
	AUTO_FREE char *own = confine_own_cgroup();
	return str_eq(own, CONFINE_MOUNT "/") && faccessat(fd, "cgroup.type", F_OK, 0) == 0;
}

int confine_open_parent(char **ret_path)
{
	const char *named = getenv("MVM_CGROUP");
	bool chosen = !str_empty(named);
	AUTO_FREE char *path = chosen ? strdup(named) : confine_own_cgroup();
	struct statfs fs;
	if (!path)
		return -ENOENT;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC || (!chosen && !is_delegated(fd)))
		return -EPERM;
	*ret_path = TAKE_PTR(path);
	return TAKE_FD(fd);
}

static bool write_file(int dir_fd, const char *name, const char *text)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Set the limits.  Returns the controllers that could be set, as "memory cpu pids". */
static char *set_limits(int parent_fd, int fd, const struct record *r)
{
	AUTO_DONE(strbuf) set = { 0 };
	char memory[32], cpu[48], pids[16];
	snprintf(memory, sizeof(memory), "%llu",
		 ((unsigned long long)r->mem_mib + VMM_MEMORY_MIB) << 20);
	snprintf(cpu, sizeof(cpu), "%u 100000", (r->vcpus + VMM_CPUS) * 100000u);
	snprintf(pids, sizeof(pids), "%u", VMM_PIDS);
	const struct {
		const char *controller, *enable, *file, *value;
	} limits[] = {
		{ "memory", "+memory", "memory.max", memory },
		{ "cpu", "+cpu", "cpu.max", cpu },
		{ "pids", "+pids", "pids.max", pids },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(limits); i++) {
		/* this fails if the controller is unavailable; the write to its file then fails,
		 * too */
		write_file(parent_fd, "cgroup.subtree_control", limits[i].enable);
		if (write_file(fd, limits[i].file, limits[i].value))
			strbuf_addf(&set, "%s%s", set.len ? " " : "", limits[i].controller);
	}
	return strbuf_take(&set);
}

void confine(struct record *r)
{
	AUTO_FREE char *parent = NULL;
	AUTO_CLOSE int parent_fd = confine_open_parent(&parent);
	if (parent_fd < 0 || r->vmm_pid <= 0)
		return;
	assert(parent);
	char name[128], pid[16];
	snprintf(name, sizeof(name), OWN_PREFIX "%s-%d", r->name, (int)getpid());
	snprintf(pid, sizeof(pid), "%d", (int)r->vmm_pid);
	if (mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST)
		return;
	AUTO_CLOSE int fd = dir_open_at(parent_fd, name);
	if (fd < 0)
		return;
	AUTO_FREE char *limits = set_limits(parent_fd, fd, r);
	if (!write_file(fd, "cgroup.procs", pid)) {
		unlinkat(parent_fd, name, AT_REMOVEDIR);
		return;
	}
	free(r->cgroup);
	free(r->cgroup_limits);
	r->cgroup = str_printf("%s%s%s", parent, parent[strlen(parent) - 1] == '/' ? "" : "/",
			       name);
	r->cgroup_limits = TAKE_PTR(limits);
}

void confine_end(const char *cgroup)
{
	const char *name = cgroup ? strrchr(cgroup, '/') : NULL;
	if (name && str_starts(name + 1, OWN_PREFIX))
		rmdir(cgroup); /* if it stays, an empty cgroup costs nothing */
}
