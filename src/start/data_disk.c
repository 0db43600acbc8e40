/* SPDX-License-Identifier: Apache-2.0 */
#include "start/data_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "image/image.h"
#include "instance/data_disk.h"
#include "start/memory_file.h"
#include "store/blob.h"

#define LABEL "data"

int data_disk_check(uint32_t size_mib, struct mvm_error *err)
{
	if (size_mib == 0 ||
	    (size_mib >= MVM_DATA_DISK_MIB_MIN && size_mib <= MVM_DATA_DISK_MIB_MAX))
		return 0;
	return mvm_error_set(err, -EINVAL,
			     "data_disk_mib: %" PRIu32 " is neither 0 nor between %u and %u",
			     size_mib, MVM_DATA_DISK_MIB_MIN, MVM_DATA_DISK_MIB_MAX);
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
	int fd = openat(st.fd, DATA_DISK_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot make the data disk: %s", strerror(errno));
	r = image_format_empty(fd, (uint64_t)size_mib << 20, LABEL, err);
	close(fd); /* store_blob_take() makes it durable */
	if (r == 0)
		r = store_blob_take(s, st.fd, DATA_DISK_NAME, ret, NULL, err);
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

int data_disk_open(const struct revision *r, bool restore, struct mvm_error *err)
{
	if (!r->rev.data_disk_mib)
		return -1;
	const char *name = restore ? "snapshot/" DATA_DISK_NAME : DATA_DISK_NAME;
	int fd = openat(r->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		return fd;
	return mvm_error_set(err, errno == ENOENT ? -EBADMSG : -errno,
			     "cannot open the data disk '%s': %s", name, strerror(errno));
}

int data_disk_identity(int snapshot_fd, char **ret, struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(snapshot_fd, DATA_DISK_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = fd < 0 ? -errno : memory_file_identity(fd, ret);
	return r < 0 ? mvm_error_set(err, r, "%s: %s", DATA_DISK_NAME, strerror(-r)) : 0;
}
