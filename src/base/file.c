/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int file_read_fd(int fd, size_t max, char **ret, size_t *ret_len)
{
	AUTO_DONE(strbuf) text = { 0 };
	char chunk[16384];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if ((size_t)n > max - text.len)
			return -EFBIG;
		strbuf_add(&text, chunk, (size_t)n);
	}
	size_t len = text.len;
	char *data = text.failed ? NULL : strbuf_take(&text);
	if (!data)
		return -ENOMEM;
	*ret = data;
	if (ret_len)
		*ret_len = len;
	return 0;
}

/* Read a file of known size in one call.  Files of /proc are larger than their size says. */
static int read_sized(int fd, size_t size, size_t max, char **ret, size_t *ret_len)
{
	if (size > max)
		return -EFBIG;
	AUTO_FREE char *text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	if (pread(fd, text, size + 1, 0) != (ssize_t)size)
		return file_read_fd(fd, max, ret, ret_len);
	text[size] = '\0';
	*ret = TAKE_PTR(text);
	if (ret_len)
		*ret_len = size;
	return 0;
}

/* Returns 0, -EISDIR, or -EINVAL. */
static int check_regular(int fd, struct stat *ret_st)
{
	if (fstat(fd, ret_st) < 0)
		return -errno;
	if (S_ISDIR(ret_st->st_mode))
		return -EISDIR;
	return S_ISREG(ret_st->st_mode) ? 0 : -EINVAL;
}

static int read_regular(int fd, size_t max, char **ret, size_t *ret_len)
{
	struct stat st;
	int r = check_regular(fd, &st);
	return r < 0 ? r : read_sized(fd, (size_t)st.st_size, max, ret, ret_len);
}

/* O_NONBLOCK: a fifo put in a file's place must not hang us */
#define READ_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

int file_read_at(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, READ_FLAGS);
	return fd < 0 ? -errno : read_regular(fd, max, ret, ret_len);
}

int file_read_below(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	const struct open_how how = {
		.flags = READ_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	AUTO_CLOSE int fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
	if (fd < 0 && errno == ENOSYS) /* in some sandboxes; this checks at least the last part */
		fd = openat(dir_fd, path, READ_FLAGS | O_NOFOLLOW);
	return fd < 0 ? -errno : read_regular(fd, max, ret, ret_len);
}

ssize_t file_read_range(int fd, void *ret, size_t len, uint64_t offset)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, (char *)ret + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : (ssize_t)done;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int file_open(const char *path)
{
	struct stat st;
	AUTO_CLOSE int fd = open(path, READ_FLAGS);
	int r = fd < 0 ? -errno : check_regular(fd, &st);
	return r < 0 ? r : TAKE_FD(fd);
}

int file_open_append(int dir_fd, const char *name, const char *aside)
{
	struct stat st;

	for (bool moved = false;; moved = true) {
		AUTO_CLOSE int fd = openat(
			dir_fd, name,
			O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0 || fstat(fd, &st) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return -EINVAL;
		if (st.st_nlink <= 1)
			return TAKE_FD(fd);
		if (moved || !file_is_at(fd, dir_fd, name) ||
		    renameat(dir_fd, name, dir_fd, aside) < 0)
			return -EMLINK;
	}
}

int file_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_in_memory(const void *data, size_t len)
{
	AUTO_CLOSE int fd = memfd_create("bytes", MFD_CLOEXEC);

	int r = fd < 0 ? -errno : file_write_all(fd, data, len);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	return r < 0 ? r : TAKE_FD(fd);
}

static int pwrite_all(int fd, const char *p, size_t len, off_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

#define SPARSE_BLOCK 4096

int file_write_sparse(int fd, const void *data, size_t len, off_t offset)
{
	const char *p = data;
	size_t run = 0; /* bytes before the current block that are still to be written */

	for (size_t at = 0, n; at < len; at += n) {
		off_t here = offset + (off_t)at;
		n = SPARSE_BLOCK - (size_t)(here % SPARSE_BLOCK);
		n = n < len - at ? n : len - at;
		if (!mem_is_zero(p + at, n)) {
			run += n;
			continue;
		}
		int r = pwrite_all(fd, p + at - run, run, here - (off_t)run);
		if (r < 0)
			return r;
		run = 0;
	}
	return pwrite_all(fd, p + len - run, run, offset + (off_t)(len - run));
}

static int create_file(int dir_fd, const char *name, const void *data, size_t len, mode_t mode,
		       bool sync)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int r = file_write_all(fd, data, len);
	if (r == 0 && (fchmod(fd, mode) < 0 || (sync && fsync(fd) < 0)))
		r = -errno;
	if (r < 0)
		unlinkat(dir_fd, name, 0); /* the first failure is the one to report */
	return r;
}

int file_create_at(int dir_fd, const char *name, const void *data, size_t len, mode_t mode)
{
	return create_file(dir_fd, name, data, len, mode, true);
}

#define UNIQUE_DIGITS 16

bool name_is_unique(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);
	return strncmp(name, prefix, len) == 0 && strlen(name + len) == UNIQUE_DIGITS &&
	       strspn(name + len, "0123456789abcdef") == UNIQUE_DIGITS;
}

static void unique_name(const char *prefix, char ret[64])
{
	uint64_t random;
	random_bytes(&random, sizeof(random));
	snprintf(ret, 64, "%s%016llx", prefix, (unsigned long long)random);
}

/* Rename, but never replace.  musl has no renameat2(). */
static int rename_to_new(int from_fd, const char *from, int to_fd, const char *to)
{
	long r = syscall(SYS_renameat2, from_fd, from, to_fd, to, RENAME_NOREPLACE);
	return r < 0 ? -errno : 0;
}

static int rename_over(int from_fd, const char *from, int to_fd, const char *to)
{
	return renameat(from_fd, from, to_fd, to) < 0 ? -errno : 0;
}

/* Move a finished temporary to its final name and make that durable. */
static int move_into_place(int tmp_fd, const char *tmp_name, int dir_fd, const char *name,
			   bool replace)
{
	int r = replace ? rename_over(tmp_fd, tmp_name, dir_fd, name)
			: rename_to_new(tmp_fd, tmp_name, dir_fd, name);
	if (r < 0) {
		unlinkat(tmp_fd, tmp_name, 0); /* the rename's failure is the one to report */
		return r;
	}
	return dir_sync(dir_fd);
}

static int put_file(int tmp_fd, int dir_fd, const char *name, const void *data, size_t len,
		    mode_t mode, bool replace)
{
	char tmp_name[64];
	unique_name("file.", tmp_name);
	int r = file_create_at(tmp_fd, tmp_name, data, len, mode);
	return r < 0 ? r : move_into_place(tmp_fd, tmp_name, dir_fd, name, replace);
}

int file_replace_at(int tmp_fd, int dir_fd, const char *name, const void *data, size_t len,
		    mode_t mode)
{
	return put_file(tmp_fd, dir_fd, name, data, len, mode, true);
}

int file_place_at(int tmp_fd, int dir_fd, const char *name, const void *data, size_t len,
		  mode_t mode)
{
	return put_file(tmp_fd, dir_fd, name, data, len, mode, false);
}

int file_replace_unsynced_at(int dir_fd, const char *name, const void *data, size_t len,
			     mode_t mode)
{
	char tmp_name[64];
	unique_name("file.", tmp_name);
	int r = create_file(dir_fd, tmp_name, data, len, mode, false);
	if (r < 0)
		return r;
	if (renameat(dir_fd, tmp_name, dir_fd, name) < 0) {
		r = -errno;
		unlinkat(dir_fd, tmp_name, 0); /* the rename's failure is the one to report */
	}
	return r;
}

int link_replace_at(int tmp_fd, int dir_fd, const char *name, const char *target)
{
	char tmp_name[64];
	unique_name("file.", tmp_name);
	if (symlinkat(target, tmp_fd, tmp_name) < 0)
		return -errno;
	return move_into_place(tmp_fd, tmp_name, dir_fd, name, true);
}

int dir_open_at(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int dir_open_unmounted_at(int dir_fd, const char *name)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV,
	};
	int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	if (fd < 0 && errno == ENOSYS) /* some sandboxes */
		return dir_open_at(dir_fd, name);
	return fd < 0 ? -errno : fd;
}

int dir_make_at(int dir_fd, const char *name)
{
	if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	return dir_open_at(dir_fd, name);
}

int dir_make_unique_at(int dir_fd, const char *prefix, char ret_name[64])
{
	unique_name(prefix, ret_name);
	if (mkdirat(dir_fd, ret_name, 0700) < 0)
		return -errno;
	return dir_open_at(dir_fd, ret_name);
}

int rename_unique_at(int dir_fd, const char *name, int to_fd, const char *prefix, char ret_name[64])
{
	unique_name(prefix, ret_name);
	return rename_to_new(dir_fd, name, to_fd, ret_name);
}

int dir_make_path(const char *path)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(part))
		return len ? -ENAMETOOLONG : -ENOENT;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST && errno != EISDIR)
			return -errno;
	}
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int dir_list(int dir_fd, struct strv *ret)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	AUTO_CLOSEDIR DIR *dir = fdopendir(fd);
	if (!dir) {
		int r = -errno;
		close(fd);
		return r;
	}

	AUTO_DONE(strv) names = { 0 };
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (!entry && errno)
			return -errno;
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			strv_add(&names, entry->d_name);
	}
	if (names.failed)
		return -ENOMEM;
	strv_sort(&names);
	*ret = names;
	names = (struct strv){ 0 };
	return 0;
}

#define TREE_DEPTH_MAX 256

static int remove_below(int dir_fd, const char *name, unsigned depth, int (*go_on)(const void *arg),
			const void *arg)
{
	int r = go_on ? go_on(arg) : 0;
	if (r < 0)
		return r;
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth >= TREE_DEPTH_MAX)
		return -ELOOP;

	AUTO_CLOSE int fd = dir_open_unmounted_at(dir_fd, name);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	AUTO_DONE(strv) names = { 0 };
	r = dir_list(fd, &names);
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = remove_below(fd, names.v[i], depth + 1, go_on, arg);
	if (r < 0)
		return r;
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

int tree_remove_at(int dir_fd, const char *name)
{
	return remove_below(dir_fd, name, 0, NULL, NULL);
}

int tree_remove_while_at(int dir_fd, const char *name, int (*go_on)(const void *arg),
			 const void *arg)
{
	return remove_below(dir_fd, name, 0, go_on, arg);
}

bool file_is_at(int fd, int dir_fd, const char *name)
{
	struct stat a, b;
	return fstat(fd, &a) == 0 && fstatat(dir_fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

char *file_identity(const struct stat *st)
{
	return str_printf("%llu:%llu:%llu:%lld.%09ld:%lld.%09ld", (unsigned long long)st->st_dev,
			  (unsigned long long)st->st_ino, (unsigned long long)st->st_size,
			  (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
			  (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

int dir_sync(int dir_fd)
{
	return fsync(dir_fd) < 0 ? -errno : 0;
}

void random_bytes(void *ret, size_t n)
{
	char *p = ret;
	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);
		if (got < 0)
			continue; /* only EINTR is possible with these arguments */
		p += got;
		n -= (size_t)got;
	}
}

void random_uuid(char ret[UUID_SIZE])
{
	uint8_t id[16];
	char hex[2 * sizeof(id) + 1];
	random_bytes(id, sizeof(id));
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
	str_hex(id, sizeof(id), hex);
	snprintf(ret, UUID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
		 hex + 20);
}

mode_t process_umask(void)
{
	static const char key[] = "\nUmask:";
	AUTO_FREE char *text = NULL;
	char *end;
	AUTO_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : file_read_fd(fd, 65536, &text, NULL);
	const char *at = r == 0 && text ? strstr(text, key) : NULL;
	if (!at)
		return 077;
	at += sizeof(key) - 1;
	unsigned long value = strtoul(at, &end, 8);
	return end != at && value <= 0777 ? (mode_t)value : 077;
}

void fd_path(int fd, char ret[FD_PATH_SIZE])
{
	snprintf(ret, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

int dir_open_without_links(const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	if (fd < 0 && errno == ENOSYS) /* some sandboxes */
		return dir_open_at(AT_FDCWD, path);
	return fd < 0 ? -errno : fd;
}
