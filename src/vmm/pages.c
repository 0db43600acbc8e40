/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/pages.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/str.h"

#define MAGIC	    "MVMPAGE1"
#define PAGE	    PAGES_SIZE
#define PAGES_MAX   (UINT64_C(1) << 32) /* 16 TiB of memory */
#define CHUNK	    (256u << 10)
#define FILE_BACKED (UINT64_C(1) << 61)
#define THERE	    (UINT64_C(3) << 62) /* present or swapped */

struct header {
	char magic[8];
	uint32_t page_size, reserved;
	uint64_t n_memory, n_extents;
};
_Static_assert(sizeof(struct header) == 32, "there is no padding");

void pages_map_done(struct pages_map *m)
{
	free(m->v);
	*m = (struct pages_map){ 0 };
}

/* ---- a process's page table ---- */

/* Parse "7f18dbfff000-7f18ebfff000 rw-p 00000000 fe:00 10436702   /path/mem.bin", if it is a
 * mapping of this file.  The device is not compared: on btrfs it differs from fstat's, and a VMM
 * has no other file of that name. */
static bool read_mapping(const char *line, const struct stat *file, struct pages_mapping *ret)
{
	unsigned long long start, end, offset, inode;
	/* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers are in range */
	if (sscanf(line, "%llx-%llx %*s %llx %*s %llu", &start, &end, &offset, &inode) != 4)
		return false;
	if (inode != file->st_ino || !strstr(line, "/mem.bin") || end <= start)
		return false;
	/* a VMM that its guest has taken over may map terabytes past the file's last page */
	uint64_t n = (end - start) / PAGE, from = offset / PAGE;
	uint64_t size = ((uint64_t)file->st_size + PAGE - 1) / PAGE;
	if (from >= size)
		return false;
	*ret = (struct pages_mapping){ start / PAGE, n < size - from ? n : size - from, from };
	return true;
}

int pages_each_mapping(pid_t pid, const struct stat *file, pages_mapping_fn fn, void *arg)
{
	char path[64], line[4352];
	bool found = false;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	AUTO_CLOSE int pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	AUTO_FCLOSE FILE *maps = fopen(path, "re");
	if (pagemap_fd < 0 || !maps)
		return -errno;
	while (r == 0 && fgets(line, sizeof(line), maps)) {
		struct pages_mapping m;
		if (!read_mapping(line, file, &m))
			continue;
		found = true;
		r = fn(arg, pagemap_fd, &m);
	}
	return r == 0 && !found ? -ENXIO : r;
}

static int add_page(struct pages_map *m, uint64_t page)
{
	struct pages_extent *last = m->n ? &m->v[m->n - 1] : NULL;
	if (last && page < last->first + last->n)
		return -EIO; /* one page twice */
	m->n_pages++;
	if (last && page == last->first + last->n) {
		last->n++;
		return 0;
	}
	if (!m->v || (m->n & (m->n + 1)) == 0) { /* full at 0, 1, 3, 7, ... */
		struct pages_extent *v = realloc(m->v, (2 * m->n + 1) * sizeof(*v));
		if (!v)
			return -ENOMEM;
		m->v = v;
	}
	m->v[m->n++] = (struct pages_extent){ page, 1 };
	return 0;
}

static int find_own(struct pages_map *map, int pagemap_fd, const struct pages_mapping *m)
{
	static const uint64_t at_once = 4096;
	AUTO_FREE uint64_t *entries = malloc(at_once * sizeof(*entries));
	int r = entries ? 0 : -ENOMEM;
	for (uint64_t done = 0; r == 0 && done < m->n_pages;) {
		uint64_t want = m->n_pages - done < at_once ? m->n_pages - done : at_once;
		ssize_t n = pread(pagemap_fd, entries, want * sizeof(*entries),
				  (off_t)((m->first_page + done) * sizeof(*entries)));
		if (n < (ssize_t)sizeof(*entries))
			return n < 0 ? -errno : -EIO;
		for (size_t i = 0; r == 0 && i < (size_t)n / sizeof(*entries); i++, done++) {
			if ((entries[i] & THERE) && !(entries[i] & FILE_BACKED))
				r = add_page(map, m->file_page + done);
		}
	}
	return r;
}

/* ---- its memory ---- */

struct mapped {
	pid_t pid;
	struct pages_mapping v[64];
	size_t n;
};

static int note_mapping(void *arg, int pagemap_fd, const struct pages_mapping *m)
{
	struct mapped *all = arg;
	(void)pagemap_fd;
	if (all->n == MVM_ARRAY_SIZE(all->v))
		return -E2BIG;
	all->v[all->n++] = *m;
	return 0;
}

/* Firecracker maps memory above 3 GiB in two parts, the second below the first. */
static int by_file_page(const void *a, const void *b)
{
	const struct pages_mapping *x = a, *y = b;
	return x->file_page < y->file_page ? -1 : x->file_page > y->file_page;
}

static int find_mapped(const struct stat *file, struct mapped *all)
{
	int r = pages_each_mapping(all->pid, file, note_mapping, all);
	qsort(all->v, all->n, sizeof(*all->v), by_file_page);
	return r;
}

/* Find the pages that the process has of its own, in the file's order. */
static int find_all_own(const struct mapped *all, struct pages_map *ret)
{
	char path[64];
	int r = 0;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)all->pid);
	AUTO_CLOSE int pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap_fd < 0)
		return -errno;
	for (size_t i = 0; i < all->n && r == 0; i++)
		r = find_own(ret, pagemap_fd, &all->v[i]);
	return r;
}

/* The address of a page of the file in the process, and the number of pages mapped from there on.
 * 0: the page is not mapped. */
static uint64_t place_of(const struct mapped *all, uint64_t page, uint64_t *ret_n)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct pages_mapping *m = &all->v[i];
		if (page < m->file_page || page - m->file_page >= m->n_pages)
			continue;
		*ret_n = m->n_pages - (page - m->file_page);
		return (m->first_page + (page - m->file_page)) * PAGE;
	}
	return 0;
}

static int transfer(ssize_t (*call)(int, void *, size_t, off_t), int fd, uint8_t *data, size_t len,
		    uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = call(fd, data + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static ssize_t put(int fd, void *data, size_t len, off_t at)
{
	return pwrite(fd, data, len, at);
}

/* Pages that are adjacent in the pages' file and scattered in the process. */
struct bunch {
	uint8_t *buffer; /* CHUNK bytes */
	size_t len;
	struct iovec pieces[CHUNK / PAGE];
	size_t n;
	uint64_t file_at;
};
typedef int (*bunch_fn)(pid_t pid, int fd, struct bunch *b);

static int carry_out(pid_t pid, int fd, struct bunch *b, bunch_fn fn)
{
	int r = b->n ? fn(pid, fd, b) : 0;
	b->file_at += b->len;
	b->len = b->n = 0;
	return r;
}

/* Call fn for all pages of the extents, many at a time. */
static int each_bunch(const struct mapped *all, const struct pages_map *map, uint64_t file_at,
		      int fd, bunch_fn fn)
{
	AUTO_FREE struct bunch *b = calloc(1, sizeof(*b));
	AUTO_FREE uint8_t *buffer = malloc(CHUNK);
	if (!b || !buffer)
		return -ENOMEM;
	b->buffer = buffer;
	b->file_at = file_at;
	for (size_t i = 0; i < map->n; i++) {
		for (uint64_t done = 0; done < map->v[i].n;) {
			uint64_t n = 0, at = place_of(all, map->v[i].first + done, &n);
			uint64_t left = map->v[i].n - done, room = (CHUNK - b->len) / PAGE;
			if (!at)
				return -ENXIO;
			n = n < left ? n : left;
			n = n < room ? n : room;
			/* NOLINTNEXTLINE(performance-no-int-to-ptr): of another process */
			b->pieces[b->n++] = (struct iovec){ (void *)at, n * PAGE };
			b->len += n * PAGE;
			done += n;
			int r = b->len == CHUNK ? carry_out(all->pid, fd, b, fn) : 0;
			if (r < 0)
				return r;
		}
	}
	return carry_out(all->pid, fd, b, fn);
}

static int copied(ssize_t n, const struct bunch *b)
{
	if (n < 0)
		return -errno;
	return (size_t)n == b->len ? 0 : -EIO;
}

/* ---- save ---- */

/* A page of zeros stays a hole. */
static int write_pages(int fd, uint8_t *data, size_t len, uint64_t at)
{
	static const uint8_t zeros[PAGE];
	size_t from = 0;
	for (size_t i = 0; i <= len; i += PAGE) {
		bool hole = i == len || memcmp(data + i, zeros, PAGE) == 0;
		if (!hole)
			continue;
		int r = i > from ? transfer(put, fd, data + from, i - from, at + from) : 0;
		if (r < 0)
			return r;
		from = i + PAGE;
	}
	return 0;
}

static int save_bunch(pid_t pid, int fd, struct bunch *b)
{
	const struct iovec ours = { b->buffer, b->len };
	int r = copied(process_vm_readv(pid, &ours, 1, b->pieces, b->n, 0), b);
	return r < 0 ? r : write_pages(fd, b->buffer, b->len, b->file_at);
}

static uint64_t map_bytes(uint64_t n_extents)
{
	uint64_t bytes = sizeof(struct header) + n_extents * sizeof(struct pages_extent);
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

static int write_map(int fd, const struct pages_map *map, uint64_t n_memory)
{
	const struct header header = {
		.magic = MAGIC,
		.page_size = htole32(PAGE),
		.n_memory = htole64(n_memory),
		.n_extents = htole64(map->n),
	};
	uint64_t len = map_bytes(map->n);
	AUTO_FREE uint8_t *data = calloc(1, len);
	if (!data)
		return -ENOMEM;
	memcpy(data, &header, sizeof(header));
	for (size_t i = 0; i < map->n; i++) {
		const struct pages_extent e = { htole64(map->v[i].first), htole64(map->v[i].n) };
		memcpy(data + sizeof(header) + i * sizeof(e), &e, sizeof(e));
	}
	return transfer(put, fd, data, len, 0);
}

int64_t pages_save(pid_t pid, int mem_fd, int to_fd)
{
	AUTO_DONE(pages_map) map = { 0 };
	struct mapped all = { .pid = pid };
	struct stat st;
	if (sysconf(_SC_PAGESIZE) != PAGE)
		return -EOPNOTSUPP;
	int r = fstat(mem_fd, &st) < 0 ? -errno : find_mapped(&st, &all);
	if (r == 0)
		r = find_all_own(&all, &map);
	/* first, so that its size tells how much room is needed */
	if (r == 0 && ftruncate(to_fd, (off_t)(map_bytes(map.n) + map.n_pages * PAGE)) < 0)
		r = -errno;
	if (r == 0)
		r = write_map(to_fd, &map, (uint64_t)st.st_size / PAGE);
	if (r == 0)
		r = each_bunch(&all, &map, map_bytes(map.n), to_fd, save_bunch);
	return r < 0 ? r : (int64_t)map.n_pages;
}

/* ---- load ---- */

int64_t pages_map_parse(const void *data, size_t len, uint64_t file_bytes, uint64_t n_memory,
			struct pages_map *ret)
{
	struct header header;
	if (len < sizeof(header))
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	uint64_t n = le64toh(header.n_extents);
	if (memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0 ||
	    le32toh(header.page_size) != PAGE || header.reserved != 0 || n_memory > PAGES_MAX ||
	    le64toh(header.n_memory) != n_memory || n > n_memory)
		return -EBADMSG;
	uint64_t bytes = map_bytes(n);
	if (bytes > file_bytes || bytes > len)
		return -EBADMSG;
	AUTO_DONE(pages_map) map = { .n = n, .v = calloc(n + 1, sizeof(*map.v)) };
	if (!map.v)
		return -ENOMEM;
	uint64_t end = 0; /* of the last extent */
	for (size_t i = 0; i < n; i++) {
		struct pages_extent e;
		memcpy(&e, (const uint8_t *)data + sizeof(header) + i * sizeof(e), sizeof(e));
		e = (struct pages_extent){ le64toh(e.first), le64toh(e.n) };
		if (e.first < end || e.n == 0 || e.first >= n_memory || e.n > n_memory - e.first)
			return -EBADMSG;
		end = e.first + e.n;
		map.n_pages += e.n;
		map.v[i] = e;
	}
	if (file_bytes != bytes + map.n_pages * PAGE)
		return -EBADMSG;
	*ret = map;
	map = (struct pages_map){ 0 };
	return (int64_t)bytes;
}

static int load_bunch(pid_t pid, int fd, struct bunch *b)
{
	const struct iovec ours = { b->buffer, b->len };
	int r = transfer(pread, fd, b->buffer, b->len, b->file_at);
	return r < 0 ? r : copied(process_vm_writev(pid, &ours, 1, b->pieces, b->n, 0), b);
}

static int64_t read_map(int fd, uint64_t n_memory, struct pages_map *ret)
{
	struct header header;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
	    n_memory > PAGES_MAX || le64toh(header.n_extents) > n_memory)
		return -EBADMSG;
	size_t len = map_bytes(le64toh(header.n_extents));
	AUTO_FREE uint8_t *data = malloc(len);
	if (!data)
		return -ENOMEM;
	int r = transfer(pread, fd, data, len, 0);
	if (r < 0)
		return r == -EIO ? -EBADMSG : r; /* it is too short */
	return pages_map_parse(data, len, (uint64_t)st.st_size, n_memory, ret);
}

int pages_load(pid_t pid, int mem_fd, int from_fd)
{
	AUTO_DONE(pages_map) map = { 0 };
	struct mapped all = { .pid = pid };
	struct stat st;
	if (fstat(mem_fd, &st) < 0)
		return -errno;
	int64_t file_at = read_map(from_fd, (uint64_t)st.st_size / PAGE, &map);
	int r = file_at < 0 ? (int)file_at : pages_each_mapping(pid, &st, note_mapping, &all);
	return r < 0 ? r : each_bunch(&all, &map, (uint64_t)file_at, from_fd, load_bunch);
}

/* ---- flatten ---- */

/* Copy bytes from one file to the other.  buffer: CHUNK bytes. */
static int copy_bytes(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t len,
		      uint8_t *buffer)
{
	int r = 0;
	for (uint64_t done = 0; r == 0 && done < len;) {
		size_t n = len - done < CHUNK ? (size_t)(len - done) : CHUNK;
		r = transfer(pread, from_fd, buffer, n, from + done);
		if (r == 0)
			r = transfer(put, to_fd, buffer, n, to + done);
		done += n;
	}
	return r;
}

int pages_flatten(int from_fd, int memory_fd)
{
	AUTO_DONE(pages_map) map = { 0 };
	AUTO_FREE uint8_t *buffer = malloc(CHUNK);
	struct stat st;
	if (!buffer)
		return -ENOMEM;
	if (fstat(memory_fd, &st) < 0)
		return -errno;
	int64_t file_at = read_map(from_fd, (uint64_t)st.st_size / PAGE, &map);
	int r = file_at < 0 ? (int)file_at : 0;
	for (size_t i = 0; r == 0 && i < map.n; i++) {
		const struct pages_extent *e = &map.v[i];
		r = copy_bytes(from_fd, (uint64_t)file_at, memory_fd, e->first * PAGE, e->n * PAGE,
			       buffer);
		file_at += (int64_t)(e->n * PAGE);
	}
	return r;
}
