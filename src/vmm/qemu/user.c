/* SPDX-License-Identifier: Apache-2.0 */
/* As whom QEMU runs: as a uid of its own where mvm is run by root, else as we do. */
#include <errno.h>
#include <string.h>

#include "vmm/qemu/qemu.h"

#define KVM_DEVICE "/dev/kvm"

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
		return "files cannot be lent to other users here, as by seccomp_unotify(2)";
	return NULL;
}

bool qemu_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_how)
{
	(void)dir_fd;
	if (geteuid() != 0) {
		*ret_how = "QEMU runs as this user, in its seccomp sandbox";
		return true;
	}
	const char *obstacle = find_obstacle(probe);
	*ret_how = obstacle ? obstacle
			    : "each QEMU runs as a user of its own, in its seccomp sandbox";
	return !obstacle;
}

int qemu_child_init(struct qemu_child *child, const struct vmm_probe *probe,
		    const struct vmm_config *c, struct mvm_error *err)
{
	if (geteuid() == 0 && !find_obstacle(probe)) {
		int r = own_uid_take(&child->user);
		if (r < 0)
			return mvm_error_set(err, r, "cannot find a user for QEMU: %s",
					     strerror(-r));
	}
	/* that there is one was looked at above; without it QEMU says that it may not open it */
	if (probe->accel == VMM_ACCEL_KVM)
		(void)own_uid_device_group(KVM_DEVICE, &child->group);
	child->binds_ports = c->network;
	return 0;
}

int qemu_child_enter(void *arg)
{
	const struct qemu_child *child = arg;
	bool alone = child->user.fd >= 0;
	if (child->memory) {
		int r = lend_in_child(child->memory);
		if (r < 0 || (r == 0 && alone))
			return r < 0 ? r : -EOPNOTSUPP; /* that user could not open it */
	}
	/* every file is a descriptor, and no other user gets to our folders */
	if (chdir("/") < 0)
		return -errno;
	return alone ? own_uid_become(&child->user, child->group, child->binds_ports) : 0;
}
