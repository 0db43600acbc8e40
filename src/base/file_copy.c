/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of whole files: by reflink, or of their data, holes as holes. */
#include "base/file.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* For two file systems between which the kernel does not copy. */
static int copy_range_by_hand(int from_fd, int to_fd, off_t start, off_t end)
{
	char chunk[65536];

	while (start < end) {
		size_t want = sizeof(chunk);
		if (end - start < (off_t)want)
			want = (size_t)(end - start);
		ssize_t n = pread(from_fd, chunk, want, start);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		int r = file_write_sparse(to_fd, chunk, (size_t)n, start);
		if (r < 0)
			return r;
		start += n;
	}
	return 0;
}

static int copy_range(int from_fd, int to_fd, off_t start, off_t end)
{
	off_t out = start;
	while (start < end) {
		ssize_t n = copy_file_range(from_fd, &start, to_fd, &out, (size_t)(end - start), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EXDEV || errno == EOPNOTSUPP || errno == EINVAL))
			return copy_range_by_hand(from_fd, to_fd, start, end);
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* the file shrank under us */
	}
	return 0;
}

/* Old data must not show in the holes. */
static int begin_copy(struct file_copying *c, int from_fd, int to_fd)
{
	struct stat st;
	if (fstat(from_fd, &st) < 0 || ftruncate(to_fd, 0) < 0 || ftruncate(to_fd, st.st_size) < 0)
		return -errno;
	c->begun = true;
	c->size = st.st_size;
	return 0;
}

/* Go to the next data, if the last data's end is reached. */
static int find_data(struct file_copying *c, int from_fd)
{
	if (c->at < c->end)
		return 0;
	off_t data = lseek(from_fd, c->at, SEEK_DATA);
	if (data < 0 && errno != ENXIO)
		return -errno;
	c->at = data < 0 ? c->size : data; /* ENXIO: only a hole is left */
	c->end = data < 0 ? c->size : lseek(from_fd, data, SEEK_HOLE);
	return c->end < 0 ? -errno : 0;
}

int file_copy_some(struct file_copying *c, int from_fd, int to_fd, off_t max_bytes)
{
	int r = 0;
	if (!c->begun && ioctl(to_fd, FICLONE, from_fd) == 0) {
		c->reflinked = true;
		return 0;
	}
	if (!c->begun)
		r = begin_copy(c, from_fd, to_fd);
	while (r == 0 && c->at < c->size && max_bytes > 0) {
		r = find_data(c, from_fd);
		off_t n = c->end - c->at < max_bytes ? c->end - c->at : max_bytes;
		if (r == 0)
			r = copy_range(from_fd, to_fd, c->at, c->at + n);
		c->at += n;
		max_bytes -= n;
	}
	return r < 0 ? r : c->at < c->size;
}

int file_copy_fd(int from_fd, int to_fd)
{
	struct file_copying c = { 0 };
	int r;
	while ((r = file_copy_some(&c, from_fd, to_fd, INT64_MAX)) > 0)
		;
	return r < 0 ? r : c.reflinked;
}
