/* SPDX-License-Identifier: Apache-2.0 */
#include "store/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "store/store_priv.h"

static bool links_fail(int error)
{
	return error == EMLINK || error == EXDEV || error == EPERM || error == EOPNOTSUPP;
}

/* Copy a file with its mode; the copy is on disk when this returns. */
static int copy_file(int from_dir, const char *from, int to_dir, const char *to)
{
	struct stat st;
	AUTO_CLOSE int in = openat(from_dir, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (in < 0 || fstat(in, &st) < 0)
		return -errno;
	AUTO_CLOSE int out = openat(to_dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	int r = file_copy_fd(in, out);
	if (r >= 0 && (fchmod(out, st.st_mode & 07777) < 0 || fsync(out) < 0))
		r = -errno;
	if (r < 0)
		unlinkat(to_dir, to, 0); /* the first failure is the one to report */
	return r < 0 ? r : 0;
}

int store_link_file(struct store *s, int from_fd, const char *from, int to_fd, const char *to)
{
	if (linkat(from_fd, from, to_fd, to, 0) == 0)
		return 0;
	if (!links_fail(errno))
		return -errno;
	int r = copy_file(from_fd, from, to_fd, to);
	if (r == 0)
		store_note_copy(s);
	return r;
}

/* Make `to` another name of `from`, replacing an existing file.  The new name is made aside and
 * then renamed, so that `to` exists at every moment. */
static int replace_by_link(struct store *s, int from_fd, const char *from, int to_fd,
			   const char *to, struct mvm_error *err)
{
	int scratch = store_scratch(s, err);
	if (scratch < 0)
		return scratch;
	int r = store_link_file(s, from_fd, from, scratch, "link");
	if (r == 0 && renameat(scratch, "link", to_fd, to) < 0)
		r = -errno;
	unlinkat(scratch, "link", 0); /* rename(2) leaves it if both names were one file already */
	if (r < 0)
		mvm_error_set(err, r, "cannot link blob '%s': %s", from, strerror(-r));
	return store_mend(s, r, err);
}

/* Digest a file, make it read-only and sync it to disk. */
static int seal(int fd, const char *name, struct mvm_digest *ret, uint64_t *ret_bytes,
		struct mvm_error *err)
{
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	if (r == 0)
		r = sha256_fd(fd, NULL, ret, ret_bytes);
	if (r == 0 && (fchmod(fd, 0444) < 0 || fsync(fd) < 0))
		r = -errno;
	return r < 0 ? mvm_error_set(err, r, "cannot store '%s': %s", name, strerror(-r)) : 0;
}

/* Does a blob's content match its name?  A damaged blob must not replace a new file. */
static bool is_sound(int blobs, const char *hex, const struct mvm_digest *digest)
{
	struct mvm_digest actual;
	AUTO_CLOSE int fd = openat(blobs, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd >= 0 && sha256_fd(fd, NULL, &actual, NULL) == 0 && digest_equal(digest, &actual);
}

int store_blob_take(struct store *s, int dir_fd, const char *name, struct mvm_digest *ret_digest,
		    uint64_t *ret_bytes, struct mvm_error *err)
{
	struct mvm_digest digest;
	uint64_t bytes = 0, stored;
	char hex[DIGEST_HEX_SIZE];

	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", name, strerror(errno));
	int blobs = store_dir_get(s, STORE_BLOBS, err);
	if (blobs < 0)
		return blobs;
	int r = seal(fd, name, &digest, &bytes, err);
	if (r < 0)
		return r;
	digest_hex(&digest, hex);

	bool have = store_blob_has(s, &digest, &stored) && stored == bytes &&
		    is_sound(blobs, hex, &digest);
	if (have)
		r = replace_by_link(s, blobs, hex, dir_fd, name, err);
	if (r == -ENOENT) /* a garbage collection removed it just now */
		have = false;
	if (!have) /* there is no such blob yet, or it is damaged */
		r = replace_by_link(s, dir_fd, name, blobs, hex, err);
	if (r < 0)
		return r;
	*ret_digest = digest;
	if (ret_bytes)
		*ret_bytes = bytes;
	return have ? 0 : 1;
}

int store_blob_link(struct store *s, const struct mvm_digest *digest, int dir_fd, const char *name,
		    struct mvm_error *err)
{
	char hex[DIGEST_HEX_SIZE];
	int blobs = store_dir_get(s, STORE_BLOBS, err);
	if (blobs < 0)
		return blobs;
	digest_hex(digest, hex);
	int r = store_link_file(s, blobs, hex, dir_fd, name);
	return r < 0 ? mvm_error_set(err, r, "cannot link blob '%s' as '%s': %s", hex, name,
				     strerror(-r))
		     : 0;
}

bool store_blob_has(struct store *s, const struct mvm_digest *digest, uint64_t *ret_bytes)
{
	struct stat st;
	char hex[DIGEST_HEX_SIZE];
	int blobs = store_dir(s, STORE_BLOBS);

	digest_hex(digest, hex);
	if (blobs < 0 || fstatat(blobs, hex, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return false;
	if (ret_bytes)
		*ret_bytes = (uint64_t)st.st_size;
	return true;
}
