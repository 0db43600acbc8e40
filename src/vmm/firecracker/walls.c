/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces and Landlock's rules for a Firecracker without its jailer.  Firecracker's own filters
 * let it open any file, also for whoever talks to its API, and connect to any local socket.  A jail
 * has only the VM's files, and so have these rules.  Landlock does not know of sockets with names,
 * so Firecracker loses the root folder, too, once it has started the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/landlock.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/walls.h"

unsigned fc_walls_there_are(void)
{
	return walls_are_off() ? 0 : walls_there_are() & VMM_ISOLATION_LANDLOCK;
}

/* A config without a kernel or the like has no such file. */
static int allow_file(int rules_fd, enum fc_fd folder, const char *name, bool writes)
{
	enum landlock_access access = writes ? LANDLOCK_WRITE : LANDLOCK_READ;
	return name ? landlock_allow(rules_fd, (int)folder, name, access) : 0;
}

/* The files to which folder.c made links, through the same descriptors. */
static int allow_files(void *arg, int rules_fd)
{
	const struct vmm_config *c = ((const struct fc_walls *)arg)->config;
	int r = landlock_allow(rules_fd, AT_FDCWD, ".", LANDLOCK_FILL);
	if (r == 0)
		r = landlock_allow(rules_fd, AT_FDCWD, ".", LANDLOCK_LISTEN);
	if (r == 0 && c->network)
		r = landlock_allow(rules_fd, AT_FDCWD, "/dev/net/tun", LANDLOCK_WRITE);
	if (r == 0 && c->memory != VMM_MEMORY_PRIVATE)
		r = allow_file(rules_fd, FC_FD_MEMORY_DIR, c->memory_name,
			       c->memory == VMM_MEMORY_CAPTURE);
	if (r == 0)
		r = allow_file(rules_fd, FC_FD_REVISION, c->kernel, false);
	if (r == 0)
		r = allow_file(rules_fd, FC_FD_REVISION, c->initrd, false);
	for (size_t i = 0; r == 0 && i < c->n_drives; i++) {
		const struct vmm_drive *d = &c->drives[i];
		r = allow_file(rules_fd, d->own ? FC_FD_OWN_DIR : FC_FD_REVISION, d->name,
			       !d->read_only);
	}
	return r;
}

static int narrow_folders(void)
{
	int r = box_narrow(AT_FDCWD);
	for (int i = 0; i < (int)FC_FD_COUNT && r == 0; i++)
		r = box_narrow((int)FC_FD_REVISION + i);
	return r;
}

int fc_walls_enter(void *arg)
{
	const struct fc_walls *w = arg;
	int r = w->boxed ? narrow_folders() : 0;
	if (r < 0)
		return r;
	const struct walls walls = {
		.binary = w->binary,
		.kvm = true,
		.allow = allow_files,
		.arg = arg,
		.fd_above = FC_FD_REVISION + (int)FC_FD_COUNT,
	};
	return walls_limit(&walls, fc_walls_there_are());
}

static unsigned box_flags(void)
{
	return (geteuid() == 0 ? 0 : BOX_NEW_USER) | BOX_NO_NETWORK;
}

unsigned fc_walls_namespaces(void)
{
	if (walls_are_off() || !box_is_possible(box_flags()))
		return 0;
	return VMM_ISOLATION_NAMESPACES | VMM_ISOLATION_NETWORK;
}

int fc_walls_spawn(struct box *box, unsigned *isolation, const struct process_spec *spec,
		   struct process *ret)
{
	struct fc_walls *walls = spec->in_child_arg;
	int r = -ENOTSUP;
	walls->boxed = !walls_are_off();
	if (walls->boxed)
		r = box_spawn(box, box_flags(), spec, ret);
	if (r != -ENOTSUP) {
		*isolation |= r == 0 ? VMM_ISOLATION_NAMESPACES | VMM_ISOLATION_NETWORK : 0;
		return r;
	}
	box_done(box);
	walls->boxed = false;
	return process_spawn(spec, ret);
}
