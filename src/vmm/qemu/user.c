/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user and the namespaces in which QEMU runs.  When root runs mvm, QEMU has a uid of its own,
 * else it has ours.  It has namespaces of its own, and an empty root as soon as it has started.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/privilege.h"
#include "vmm/qemu/qemu.h"
#include "vmm/walls.h"

#define KVM_DEVICE "/dev/kvm"
#define OUT_OF_WAY 512 /* more than any descriptor that QEMU is given */

/* Why QEMU cannot run as another user than root; NULL if it can. */
static const char *find_obstacle(const struct vmm_probe *probe)
{
	gid_t group;
	const char *obstacle = own_uid_obstacle();
	if (obstacle)
		return obstacle;
	if (probe->accel == VMM_ACCEL_KVM && own_uid_device_group(KVM_DEVICE, &group) < 0)
		return "only root and its group may use " KVM_DEVICE;
	if (!lend_is_possible())
		return "this host cannot lend files to other users by seccomp_unotify(2)";
	return NULL;
}

/* alone: QEMU has a uid of its own, and so needs no user namespace. */
static unsigned box_flags(bool alone)
{
	return (alone ? 0 : BOX_NEW_USER) | BOX_NO_NETWORK;
}

unsigned qemu_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle)
{
	(void)dir_fd;
	bool root = geteuid() == 0;
	const char *obstacle = root ? find_obstacle(probe) : NULL;
	bool alone = root && !obstacle;
	unsigned isolation = alone ? VMM_ISOLATION_USER : 0;
	if (walls_are_off()) {
		*ret_obstacle = "MVM_ISOLATION is off";
		return isolation;
	}
	isolation |= walls_there_are();
	if (box_is_possible(box_flags(alone)))
		isolation |= VMM_ISOLATION_NAMESPACES | VMM_ISOLATION_NETWORK;
	else if (!obstacle)
		obstacle = "this host refuses namespaces to this user";
	if (!obstacle && !(isolation & VMM_ISOLATION_LANDLOCK))
		obstacle = "this host has no Landlock";
	*ret_obstacle = obstacle;
	return isolation;
}

static uint64_t longest_file(const struct vmm_config *c)
{
	uint64_t longest = (uint64_t)256 << 20; /* device state; it is far shorter */
	struct stat st;
	for (size_t i = 0; i < c->n_drives; i++) {
		if (c->drives[i].own &&
		    fstatat(c->own_dir_fd, c->drives[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (uint64_t)st.st_size > longest)
			longest = (uint64_t)st.st_size;
	}
	if (c->memory == VMM_MEMORY_CAPTURE && (uint64_t)c->mem_mib << 20 > longest)
		longest = (uint64_t)c->mem_mib << 20;
	return longest;
}

int qemu_child_init(struct qemu_child *child, const struct vmm_probe *probe,
		    const struct vmm_config *c, struct mvm_error *err)
{
	if (geteuid() == 0 && !find_obstacle(probe)) {
		int r = own_uid_take(&child->user);
		if (r < 0)
			return mvm_error_set(err, r, "cannot find a user for QEMU: %s",
					     strerror(-r));
		child->isolation = VMM_ISOLATION_USER;
	}
	child->kvm = probe->accel == VMM_ACCEL_KVM;
	/* find_obstacle() has checked it for root; else QEMU itself says that it may not open it */
	if (child->kvm)
		own_uid_device_group(KVM_DEVICE, &child->group);
	child->captures = c->memory == VMM_MEMORY_CAPTURE;
	for (size_t i = 0; i < c->n_drives; i++)
		child->writes |= c->drives[i].read_only ? 0 : 1u << i;
	child->vcpus = c->vcpus;
	child->file_max_bytes = longest_file(c);
	child->binary = probe->binary;
	if (!walls_are_off())
		child->isolation |= walls_there_are() | VMM_ISOLATION_NAMESPACES |
				    VMM_ISOLATION_NETWORK;
	return 0;
}

void qemu_child_done(struct qemu_child *child)
{
	box_done(&child->box);
	own_uid_done(&child->user);
}

static int enter(void *arg)
{
	struct qemu_child *child = arg;
	if (child->memory) {
		child->lend_fd = fcntl(child->memory->theirs, F_DUPFD_CLOEXEC, OUT_OF_WAY);
		if (child->lend_fd < 0)
			return -errno;
	}
	/* every file is a descriptor, and another user could not enter our folder */
	if (chdir("/") < 0)
		return -errno;
	if (child->user.fd >= 0)
		return own_uid_become(&child->user, child->group, false);
	/* root of a container with no other uid: its files need no right of root's */
	return geteuid() == 0 && !walls_are_off() ? privilege_keep_only(0) : 0;
}

int qemu_child_spawn(struct qemu_child *child, const struct process_spec *spec, struct process *ret)
{
	struct process_spec own = *spec;
	/* glibc gives the virtual CPU's thread an arena of its own, which grows by a page with each
	 * system call: 800 of them until a clone has run its first commands under TCG */
	static char one_arena[] = "GLIBC_TUNABLES=glibc.malloc.arena_max=1";
	char *const env[] = { one_arena, NULL };
	bool alone = child->user.fd >= 0;
	int r = -ENOTSUP;
	own.in_child = enter;
	own.before_exec = qemu_walls_enter;
	own.in_child_arg = child;
	if (!walls_are_off())
		own.env = env;
	if (child->isolation & VMM_ISOLATION_NAMESPACES)
		r = box_spawn(&child->box, box_flags(alone), &own, ret);
	if (r != -ENOTSUP)
		return r;
	box_done(&child->box);
	child->isolation &= ~(unsigned)(VMM_ISOLATION_NAMESPACES | VMM_ISOLATION_NETWORK);
	r = process_spawn(&own, ret);
	/* only outside the namespaces: the first process of a PID namespace ignores that signal.
	 * There PR_SET_PDEATHSIG suffices, which the list of system calls keeps as it is */
	return r == 0 && alone ? own_uid_tie(&child->user, ret->pid) : r;
}
