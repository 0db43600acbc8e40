/* SPDX-License-Identifier: Apache-2.0 */
#include "start/memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/str.h"
#include "model/template.h"
#include "vmm/memory.h"

#define PAGE  4096u
#define CHUNK (1u << 20)

static int punch(int fd, off_t start, off_t len)
{
	if (len > 0 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, len) < 0)
		return -errno;
	return 0;
}

/* Punch holes for the zero pages in data, which was read from offset. */
static int punch_chunk(int fd, const char *data, size_t len, off_t offset)
{
	off_t run = 0;
	for (size_t at = 0; at + PAGE <= len; at += PAGE) {
		if (mem_is_zero(data + at, PAGE)) {
			run += PAGE;
			continue;
		}
		int r = punch(fd, offset + (off_t)at - run, run);
		if (r < 0)
			return r;
		run = 0;
	}
	return punch(fd, offset + (off_t)(len - len % PAGE) - run, run);
}

static int punch_range(int fd, off_t start, off_t end, char *buffer, struct progress_step *step)
{
	while (start < end) {
		size_t want = end - start < (off_t)CHUNK ? (size_t)(end - start) : CHUNK;
		ssize_t n = pread(fd, buffer, want, start);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		int r = punch_chunk(fd, buffer, (size_t)n, start);
		if (r < 0)
			return r;
		start += n;
		r = progress_bytes(step, (uint64_t)start, step ? step->total_bytes : 0, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

int memory_file_punch(int fd, struct progress_step *step, struct mvm_error *err)
{
	AUTO_FREE char *buffer = malloc(CHUNK);
	off_t end = 0;
	int r = 0;

	if (!buffer)
		return mvm_error_oom(err);
	while (r == 0) {
		off_t start = lseek(fd, end, SEEK_DATA);
		if (start < 0 && errno == ENXIO)
			break; /* only a hole is left */
		end = start < 0 ? start : lseek(fd, start, SEEK_HOLE);
		r = end < 0 ? -errno : punch_range(fd, start, end, buffer, step);
	}
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "it");
	if (r < 0 && r != -EOPNOTSUPP) /* without holes the file only takes more space */
		return mvm_error_set(err, r, "making the memory file sparse: %s", strerror(-r));
	return 0;
}

int memory_file_identity(int fd, char **ret)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	char *text = file_identity(&st);
	if (!text)
		return -ENOMEM;
	*ret = text;
	return 0;
}

int memory_file_share(int fd, const struct mvm_snapshot_info *snapshot)
{
	const char *backend = mvm_snapshot_info_compat(snapshot, "backend");
	const struct vmm_ops *ops;
	bool known = backend && vmm_backend_find(backend, &ops, NULL) == 0;
	return known ? vmm_memory_set_mode(ops, fd) : 0;
}
