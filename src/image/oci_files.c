/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "codec/sha256.h"

#define READ_BLOCK 65536u

void oci_files_done(struct oci_files *f)
{
	oci_archive_free(f->archive);
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	*f = (struct oci_files)OCI_FILES_NONE;
}

int oci_files_open(const char *path, bool is_archive, struct oci_files *ret, struct mvm_error *err)
{
	AUTO_DONE(oci_files) f = OCI_FILES_NONE;
	bool failed = false;

	f.path = str_dup(path, &failed);
	if (failed)
		return mvm_error_oom(err);
	f.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (is_archive ? 0 : O_DIRECTORY));
	if (f.fd < 0) {
		int r = mvm_error_set(err, -errno, "cannot open the image '%s': %s", path,
				      strerror(errno));
		return mvm_error_hint(
			err, r, "check flake_ref; a relative path starts at the config's folder");
	}
	int r = is_archive ? oci_archive_open(f.fd, path, &f.archive, err) : 0;
	if (r < 0)
		return r;
	*ret = f;
	f = (struct oci_files)OCI_FILES_NONE;
	return 0;
}

void oci_file_close(const struct oci_files *f, struct oci_file *file)
{
	if (file->fd >= 0 && file->fd != f->fd)
		close(file->fd);
	file->fd = -1;
}

static int missing(const struct oci_files *f, const char *name, int r, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot open '%s/%s': %s", f->path, name, strerror(-r));
}

/* Open a file below a folder, one name after another, never through a link. */
static int open_below(int dir_fd, const char *name)
{
	AUTO_CLOSE int folder = -1;

	for (;;) {
		size_t len = strcspn(name, "/");
		char part[256];
		if (len == 0 || len >= sizeof(part) || (len <= 2 && strspn(name, ".") >= len))
			return -EINVAL;
		memcpy(part, name, len);
		part[len] = '\0';
		int at = folder >= 0 ? folder : dir_fd;
		if (!name[len]) {
			int fd = openat(at, part, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
			return fd < 0 ? -errno : fd;
		}
		int next = dir_open_at(at, part);
		if (next < 0)
			return next;
		if (folder >= 0)
			close(folder);
		folder = next;
		name += len + 1;
	}
}

int oci_file_open(const struct oci_files *f, const char *name, struct oci_file *ret,
		  struct mvm_error *err)
{
	struct stat st;

	if (f->archive) {
		struct oci_file file = { .fd = f->fd };
		int r = oci_archive_find(f->archive, name, &file.offset, &file.size);
		if (r < 0)
			return missing(f, name, r, err);
		*ret = file;
		return 0;
	}
	AUTO_CLOSE int fd = open_below(f->fd, name);
	if (fd < 0)
		return missing(f, name, fd, err);
	if (fstat(fd, &st) < 0)
		return missing(f, name, -errno, err);
	if (!S_ISREG(st.st_mode))
		return mvm_error_set(err, -EINVAL, "'%s/%s' is no regular file", f->path, name);
	*ret = (struct oci_file){ .fd = TAKE_FD(fd), .size = (uint64_t)st.st_size };
	return 0;
}

static int read_at(const struct oci_files *f, const struct oci_file *file, const char *name,
		   uint64_t at, void *to, size_t len, struct mvm_error *err)
{
	ssize_t n = file_read_range(file->fd, to, len, file->offset + at);
	if (n == (ssize_t)len)
		return 0;
	return missing(f, name, n < 0 ? (int)n : -ENODATA, err);
}

int oci_file_read(const struct oci_files *f, const char *name, size_t max, char **ret,
		  size_t *ret_len, struct mvm_error *err)
{
	struct oci_file file;

	int r = oci_file_open(f, name, &file, err);
	if (r < 0)
		return r;
	AUTO_FREE char *text = file.size > max ? NULL : malloc((size_t)file.size + 1);
	if (file.size > max)
		r = mvm_error_set(err, -EFBIG, "'%s/%s' is larger than %zu bytes", f->path, name,
				  max);
	else if (!text)
		r = mvm_error_oom(err);
	else
		r = read_at(f, &file, name, 0, text, (size_t)file.size, err);
	if (r == 0) {
		text[file.size] = '\0';
		*ret = TAKE_PTR(text);
		*ret_len = (size_t)file.size;
	}
	oci_file_close(f, &file);
	return r;
}

int oci_file_digest(const struct oci_files *f, const struct oci_file *file, const char *name,
		    struct mvm_digest *ret, struct mvm_error *err)
{
	struct sha256 h;
	AUTO_FREE char *block = malloc(READ_BLOCK);

	if (!block)
		return mvm_error_oom(err);
	sha256_init(&h);
	for (uint64_t at = 0; at < file->size;) {
		uint64_t left = file->size - at;
		size_t len = left < READ_BLOCK ? (size_t)left : READ_BLOCK;
		int r = read_at(f, file, name, at, block, len, err);
		if (r < 0)
			return r;
		sha256_add(&h, block, len);
		at += len;
	}
	sha256_end(&h, ret);
	return 0;
}
