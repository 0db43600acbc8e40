/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot's files, made of a VM that runs instead of one that was booted for it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "instance/own_disk.h"
#include "instance/saved.h"
#include "start/facts.h"
#include "store/blob.h"
#include "template/capture.h"
#include "vmm/memory.h"
#include "vmm/pages.h"

static int failed(int r, const char *name, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot make the snapshot's %s: %s", name, strerror(-r));
}

static int open_source(int dir_fd, const char *name, struct mvm_error *err)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? failed(-errno, name, err) : fd;
}

/* Copy a file into the snapshot.  Returns the copy, open. */
static int copy_file(int from_dir_fd, const char *from, const struct capture *c, const char *name,
		     struct mvm_error *err)
{
	AUTO_CLOSE int from_fd = open_source(from_dir_fd, from, err);
	if (from_fd < 0)
		return from_fd;
	AUTO_CLOSE int fd = openat(c->snapshot_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
				   0600);
	int r = fd < 0 ? -errno : file_copy_fd(from_fd, fd);
	return r < 0 ? failed(r, name, err) : TAKE_FD(fd);
}

static int make_memory(const struct capture *c, const struct capture_source *from,
		       struct mvm_error *err)
{
	AUTO_CLOSE int pages_fd = open_source(from->saved_fd, SAVED_PAGES, err);
	if (pages_fd < 0)
		return pages_fd;
	/* capture_finish_memory() syncs it */
	AUTO_CLOSE int fd = copy_file(from->base->dir_fd, "snapshot/mem.bin", c, "mem.bin", err);
	int r = fd < 0 ? fd : pages_flatten(pages_fd, fd);
	if (r == 0)
		r = vmm_memory_set_mode(c->ops, fd);
	return r < 0 && fd >= 0 ? failed(r, "mem.bin", err) : r;
}

static int make_state(const struct capture *c, const struct capture_source *from,
		      struct mvm_error *err)
{
	AUTO_CLOSE int fd = copy_file(from->saved_fd, SAVED_STATE, c, "vmstate.bin", err);
	if (fd < 0)
		return fd;
	return fsync(fd) < 0 ? failed(-errno, "vmstate.bin", err) : 0;
}

static int make_disks(const struct capture *c, const struct capture_source *from,
		      struct mvm_error *err)
{
	for (size_t i = 0; i < OWN_DISKS; i++) {
		if (!c->plan.disk_mib[i])
			continue;
		int r = own_disk_capture((enum own_disk)i, from->saved_fd, c->snapshot_fd, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The image that the guest has mounted, which its own snapshot may have, too. */
static int link_image(const struct capture *c, const struct capture_source *from,
		      struct mvm_error *err)
{
	int dir_fd = from->base->dir_fd;
	const char *name = from->own_image ? OWN_IMAGE_PATH : from->base->rev.artifact_paths.rootfs;
	int r = store_link_file(c->mvm->store, dir_fd, name, c->snapshot_fd, SNAPSHOT_IMAGE);
	return r < 0 ? failed(r, SNAPSHOT_IMAGE, err) : 0;
}

int capture_from_running(struct capture *c, const struct capture_source *from,
			 struct mvm_error *err)
{
	AUTO_DONE(saved) saved = { 0 };
	const struct mvm_snapshot_info *base = &from->base->rev.snapshot;
	int r = saved_read(from->saved_fd, &saved, err);
	if (r == 0)
		r = saved_check(from->saved_fd, &saved,
				mvm_snapshot_info_compat(base, "nonce_sha256"), err);
	if (r == 0)
		r = make_memory(c, from, err);
	if (r == 0)
		r = make_state(c, from, err);
	if (r == 0)
		r = make_disks(c, from, err);
	if (r == 0)
		r = link_image(c, from, err);
	if (r == 0) /* only the frozen guest's agent knows the nonce */
		snprintf(c->nonce_sha256, sizeof(c->nonce_sha256), "%s", saved.nonce_sha256);
	return r;
}
