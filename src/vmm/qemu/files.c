/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that QEMU uses.  mvm hands each over as a descriptor (O_PATH: it gives no right to do
 * anything).  QEMU opens it again as /proc/self/fd/N, so it needs access to no folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "vmm/qemu/qemu.h"

static int add(struct qemu_files *f, int number, int dir_fd, const char *name,
	       struct mvm_error *err)
{
	int fd = openat(dir_fd, name, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", name, strerror(errno));
	f->fds[number] = fd;
	return 0;
}

/* Add a file that QEMU writes, and give it to QEMU's user. */
static int add_own(struct qemu_files *f, int number, int dir_fd, const char *name,
		   const struct own_uid *user, struct mvm_error *err)
{
	int r = add(f, number, dir_fd, name, err);
	if (r < 0 || user->fd < 0)
		return r;
	r = own_uid_give(user, f->fds[number]);
	f->given[number] = r == 0;
	return r < 0 ? mvm_error_set(err, r, "cannot give '%s' to QEMU: %s", name, strerror(-r))
		     : 0;
}

/* A clone's kernel is in its memory already. */
static int add_boot_files(struct qemu_files *f, const struct vmm_config *c, struct mvm_error *err)
{
	int r = 0;
	if (c->memory == VMM_MEMORY_CLONE)
		return 0;
	r = add(f, QEMU_FD_KERNEL, c->dir_fd, c->kernel, err);
	if (r == 0 && c->initrd)
		r = add(f, QEMU_FD_INITRD, c->dir_fd, c->initrd, err);
	return r;
}

/* Open the device state, which QEMU gets as it is: it need not be told of it then. */
static int add_state(struct qemu_files *f, const struct vmm_config *c, struct mvm_error *err)
{
	int fd = qemu_open_state(c->state_dir_fd, false);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot open the device state: %s", strerror(-fd));
	f->fds[QEMU_FD_STATE] = fd;
	return 0;
}

int qemu_files_open(struct qemu_files *f, const struct vmm_config *c, const struct own_uid *user,
		    struct mvm_error *err)
{
	int r = add_boot_files(f, c, err);
	if (r == 0 && c->restores)
		r = add_state(f, c, err);
	if (r == 0 && c->memory == VMM_MEMORY_CLONE)
		r = add(f, QEMU_FD_MEMORY, c->memory_dir_fd, c->memory_name, err);
	else if (r == 0 && c->memory == VMM_MEMORY_CAPTURE)
		r = add_own(f, QEMU_FD_MEMORY, c->memory_dir_fd, c->memory_name, user, err);
	for (size_t i = 0; i < c->n_drives && r == 0; i++) {
		const struct vmm_drive *d = &c->drives[i];
		int number = QEMU_FD_DRIVES + (int)i;
		r = d->own ? add_own(f, number, c->own_dir_fd, d->name, user, err)
			   : add(f, number, c->dir_fd, d->name, err);
	}
	return r;
}

void qemu_files_take_back(struct qemu_files *f)
{
	for (size_t i = 0; i < QEMU_FD_END; i++) {
		if (f->given[i])
			own_uid_take_back(f->fds[i]);
		f->given[i] = false;
	}
}

void qemu_files_done(struct qemu_files *f)
{
	qemu_files_take_back(f);
	for (size_t i = 0; i < QEMU_FD_END; i++)
		auto_close(&f->fds[i]);
	qemu_files_init(f);
}

void qemu_files_init(struct qemu_files *f)
{
	*f = (struct qemu_files){ 0 };
	for (size_t i = 0; i < QEMU_FD_END; i++)
		f->fds[i] = -1;
}
