/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/pages.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "codec/sha256.h"

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
	*ret = (struct pages_mapping){ start / PAGE, (end - start) / PAGE, offset / PAGE };
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

static int find_own(void *arg, int pagemap_fd, const struct pages_mapping *m)
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
				r = add_page(arg, m->file_page + done);
		}
	}
	return r;
}

/* ---- its memory ---- */

struct mapped {
	int mem_fd; /* /proc/PID/mem */
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

static int open_memory(pid_t pid, const struct stat *file, int flags, struct mapped *ret)
{
	char path[64];
	*ret = (struct mapped){ .mem_fd = -1 };
	int r = pages_each_mapping(pid, file, note_mapping, ret);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	ret->mem_fd = open(path, flags | O_CLOEXEC);
	return ret->mem_fd < 0 ? -errno : 0;
}

/* Where a page of the file lies in the process, and how many follow it there.  0: nowhere. */
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

/* Call step for each stretch of the extents that is one piece in the process. */
struct stretch {
	uint8_t *buffer;
	size_t len;
	uint64_t process_at, file_at;
};
typedef int (*stretch_fn)(void *arg, const struct mapped *all, const struct stretch *s);

static int each_stretch(const struct mapped *all, const struct pages_map *map, uint64_t file_at,
			stretch_fn fn, void *arg)
{
	AUTO_FREE uint8_t *buffer = malloc(CHUNK);
	int r = buffer ? 0 : -ENOMEM;
	for (size_t i = 0; i < map->n; i++) {
		for (uint64_t done = 0; r == 0 && done < map->v[i].n;) {
			uint64_t n = 0, at = place_of(all, map->v[i].first + done, &n);
			uint64_t left = map->v[i].n - done;
			if (!at)
				return -ENXIO;
			n = n < left ? n : left;
			n = n < CHUNK / PAGE ? n : CHUNK / PAGE;
			const struct stretch s = { buffer, (size_t)n * PAGE, at, file_at };
			r = fn(arg, all, &s);
			done += n;
			file_at += n * PAGE;
		}
	}
	return r;
}

/* ---- save ---- */

struct save {
	int to_fd;
	struct sha256 hash;
};

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

static int save_stretch(void *arg, const struct mapped *all, const struct stretch *s)
{
	struct save *save = arg;
	int r = transfer(pread, all->mem_fd, s->buffer, s->len, s->process_at);
	if (r < 0)
		return r;
	sha256_add(&save->hash, s->buffer, s->len);
	return write_pages(save->to_fd, s->buffer, s->len, s->file_at);
}

static uint64_t map_bytes(uint64_t n_extents)
{
	uint64_t bytes = sizeof(struct header) + n_extents * sizeof(struct pages_extent);
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

static int write_map(struct save *save, const struct pages_map *map, uint64_t n_memory)
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
	sha256_add(&save->hash, data, len);
	return transfer(put, save->to_fd, data, len, 0);
}

int64_t pages_save(pid_t pid, int mem_fd, int to_fd, struct mvm_digest *ret)
{
	AUTO_DONE(pages_map) map = { 0 };
	struct save save = { .to_fd = to_fd };
	struct mapped all;
	struct stat st;
	if (sysconf(_SC_PAGESIZE) != PAGE)
		return -EOPNOTSUPP;
	int r = fstat(mem_fd, &st) < 0 ? -errno : open_memory(pid, &st, O_RDONLY, &all);
	if (r < 0)
		return r;
	sha256_init(&save.hash);
	r = pages_each_mapping(pid, &st, find_own, &map);
	/* first, so that its size tells how much room is needed */
	if (r == 0 && ftruncate(to_fd, (off_t)(map_bytes(map.n) + map.n_pages * PAGE)) < 0)
		r = -errno;
	if (r == 0)
		r = write_map(&save, &map, (uint64_t)st.st_size / PAGE);
	if (r == 0)
		r = each_stretch(&all, &map, map_bytes(map.n), save_stretch, &save);
	close(all.mem_fd); /* only read */
	if (r < 0)
		return r;
	sha256_end(&save.hash, ret);
	return (int64_t)map.n_pages;
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

static int load_stretch(void *arg, const struct mapped *all, const struct stretch *s)
{
	const int *from_fd = arg;
	int r = transfer(pread, *from_fd, s->buffer, s->len, s->file_at);
	return r < 0 ? r : transfer(put, all->mem_fd, s->buffer, s->len, s->process_at);
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
	struct mapped all;
	struct stat st;
	if (fstat(mem_fd, &st) < 0)
		return -errno;
	int64_t file_at = read_map(from_fd, (uint64_t)st.st_size / PAGE, &map);
	if (file_at < 0)
		return (int)file_at;
	int r = open_memory(pid, &st, O_RDWR, &all);
	if (r == 0)
		r = each_stretch(&all, &map, (uint64_t)file_at, load_stretch, &from_fd);
	if (all.mem_fd >= 0)
		close(all.mem_fd);
	return r;
}
