/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock's rules for a Firecracker without its jailer.  Firecracker's own filters let it open any
 * file, also for whoever talks to its API.  A jail has only the VM's files, and so have these
 * rules.
 */
#include <fcntl.h>

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

int fc_walls_enter(void *arg)
{
	const struct fc_walls *w = arg;
	const struct walls walls = {
		.binary = w->binary,
		.kvm = true,
		.allow = allow_files,
		.arg = arg,
		.fd_above = FC_FD_REVISION + (int)FC_FD_COUNT,
	};
	return walls_limit(&walls, fc_walls_there_are());
}
