/* SPDX-License-Identifier: Apache-2.0 */
#include "start/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "image/image.h"
#include "start/memory_file.h"
#include "store/blob.h"

static int check(const char *key, uint32_t mib, uint32_t least, uint32_t most,
		 struct mvm_error *err)
{
	if (mib == 0 || (mib >= least && mib <= most))
		return 0;
	return mvm_error_set(err, -EINVAL,
			     "%s: %" PRIu32 " is neither 0 nor between %" PRIu32 " and %" PRIu32,
			     key, mib, least, most);
}

int disks_check(uint32_t data_mib, uint32_t root_mib, struct mvm_error *err)
{
	int r = check("data_disk_mib", data_mib, MVM_DATA_DISK_MIB_MIN, MVM_DATA_DISK_MIB_MAX, err);
	return r < 0 ? r
		     : check("root_disk_mib", root_mib, MVM_ROOT_DISK_MIB_MIN,
			     MVM_ROOT_DISK_MIB_MAX, err);
}

void disks_of(const struct mvm_template_revision *rev, uint32_t ret[OWN_DISKS])
{
	ret[OWN_DISK_DATA] = rev->data_disk_mib;
	ret[OWN_DISK_ROOT] = rev->root_disk_mib;
}

static int format(enum own_disk disk, int fd, uint32_t mib, struct mvm_error *err)
{
	return image_format_empty(fd, (uint64_t)mib << 20, own_disks[disk].label, err);
}

/* The remembered digest of a disk of this size.  1 or 0. */
static int recall(struct store *s, int cache_fd, const char *note, struct mvm_digest *ret)
{
	AUTO_FREE char *hex = NULL;
	size_t len;
	if (file_read_at(cache_fd, note, 128, &hex, &len) < 0)
		return 0;
	hex[strcspn(hex, "\n")] = '\0';
	return digest_parse(hex, ret) == 0 && store_blob_has(s, ret, NULL);
}

static int make(struct store *s, uint32_t size_mib, struct mvm_digest *ret, struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	int r = store_stage(s, &st, err);
	if (r < 0)
		return r;
	const char *file = own_disks[OWN_DISK_DATA].file;
	int fd = openat(st.fd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot make the data disk: %s", strerror(errno));
	r = format(OWN_DISK_DATA, fd, size_mib, err);
	close(fd); /* store_blob_take() makes it durable */
	if (r == 0)
		r = store_blob_take(s, st.fd, file, ret, NULL, err);
	return r < 0 ? r : 0;
}

int data_disk_blob(struct store *s, uint32_t size_mib, struct mvm_digest *ret,
		   struct mvm_error *err)
{
	char note[96], hex[DIGEST_HEX_SIZE];
	int64_t epoch;

	int cache_fd = store_dir_get(s, STORE_CACHE, err);
	if (cache_fd < 0)
		return cache_fd;
	int r = image_epoch(&epoch, err);
	if (r < 0)
		return r;
	snprintf(note, sizeof(note), "data-disk-%" PRIu32 "-%" PRId64 "-v%u", size_mib, epoch,
		 IMAGE_FORMAT_VERSION);
	if (recall(s, cache_fd, note, ret))
		return 0;
	r = make(s, size_mib, ret, err);
	if (r < 0)
		return r;
	digest_hex(ret, hex);
	file_replace_unsynced_at(cache_fd, note, hex, strlen(hex), 0600); /* only a cache */
	return 0;
}

static int open_file(const struct revision *r, const char *name, struct mvm_error *err)
{
	int fd = openat(r->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		return fd;
	return mvm_error_set(err, errno == ENOENT ? -EBADMSG : -errno,
			     "cannot open the disk '%s': %s", name, strerror(errno));
}

/* It is sparse, and copied to the instance at once. */
static int make_root_disk(uint32_t mib, struct mvm_error *err)
{
	AUTO_CLOSE int fd = memfd_create("root-disk", MFD_CLOEXEC);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot make the root disk: %s", strerror(errno));
	int r = format(OWN_DISK_ROOT, fd, mib, err);
	return r < 0 ? r : TAKE_FD(fd);
}

void disk_fds_done(struct disk_fds *f)
{
	for (size_t i = 0; i < OWN_DISKS; i++)
		auto_close(&f->fd[i]);
	*f = (struct disk_fds)DISK_FDS_NONE;
}

int disks_open(const struct revision *r, const uint32_t mib[OWN_DISKS], bool restore,
	       struct disk_fds *ret, struct mvm_error *err)
{
	AUTO_DONE(disk_fds) fds = DISK_FDS_NONE;
	for (size_t i = 0; i < OWN_DISKS; i++) {
		if (!mib[i])
			continue;
		if (!restore && i == OWN_DISK_ROOT)
			fds.fd[i] = make_root_disk(mib[i], err);
		else
			fds.fd[i] = open_file(
				r, restore ? own_disks[i].captured : own_disks[i].file, err);
		if (fds.fd[i] < 0)
			return fds.fd[i];
	}
	*ret = fds;
	fds = (struct disk_fds)DISK_FDS_NONE;
	return 0;
}

int disk_identity(enum own_disk disk, int snapshot_fd, char **ret, struct mvm_error *err)
{
	const char *file = own_disks[disk].file;
	AUTO_CLOSE int fd = openat(snapshot_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = fd < 0 ? -errno : memory_file_identity(fd, ret);
	return r < 0 ? mvm_error_set(err, r, "%s: %s", file, strerror(-r)) : 0;
}
