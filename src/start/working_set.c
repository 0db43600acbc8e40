/* SPDX-License-Identifier: Apache-2.0 */
#include "start/working_set.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "vmm/pages.h"

#define MAGIC	  "MVMWSET1"
#define PAGE	  WORKING_SET_PAGE
#define PAGES_MAX (UINT64_C(1) << 32) /* 16 TiB of memory */
#define GAP_MAX	  16u		      /* pages: reading them costs less than another request */
#define REQUEST	  (128u << 10) /* the kernel's read-ahead window, the most that it reads at once */
#define SAMPLES	  32u

/* All numbers are little-endian. */
struct header {
	char magic[8];
	uint32_t page_size;
	uint32_t reserved; /* 0 */
	uint64_t n_pages;
};
_Static_assert(sizeof(struct header) == 24, "there is no padding");

void working_set_done(struct working_set *s)
{
	free(s->bits);
	*s = (struct working_set){ 0 };
}

static bool is_set(const struct working_set *s, uint64_t page)
{
	return s->bits[page / 8] >> page % 8 & 1;
}

static size_t bitmap_size(uint64_t n_pages)
{
	return (size_t)((n_pages + 7) / 8);
}

static void count(struct working_set *s)
{
	s->n_set = 0;
	for (size_t i = 0; i < bitmap_size(s->n_pages); i++)
		s->n_set += (unsigned)__builtin_popcount(s->bits[i]);
}

/* Record the pages of one mapping that are in the process's page table: bit 63 of an entry,
 * "present".  Source: Documentation/admin-guide/mm/pagemap.rst. */
static int look(void *arg, int pagemap_fd, const struct pages_mapping *m)
{
	struct working_set *s = arg;
	uint64_t entries[512];
	for (uint64_t done = 0; done < m->n_pages;) {
		uint64_t want = m->n_pages - done;
		if (want > MVM_ARRAY_SIZE(entries))
			want = MVM_ARRAY_SIZE(entries);
		ssize_t n = pread(pagemap_fd, entries, want * sizeof(*entries),
				  (off_t)((m->first_page + done) * sizeof(*entries)));
		if (n < (ssize_t)sizeof(*entries))
			return n < 0 ? -errno : -EIO;
		for (size_t i = 0; i < (size_t)n / sizeof(*entries); i++, done++) {
			uint64_t page = m->file_page + done;
			if (entries[i] >> 63 && page < s->n_pages)
				s->bits[page / 8] |= (uint8_t)(1u << page % 8);
		}
	}
	return 0;
}

/* Holes need no reading. */
static int clear_holes(int fd, struct working_set *s)
{
	off_t end = 0, size = (off_t)(s->n_pages * PAGE);
	while (end < size) {
		off_t data = lseek(fd, end, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return -errno;
		if (data < 0)
			data = size; /* only a hole is left */
		for (uint64_t page = (uint64_t)end / PAGE; page < (uint64_t)data / PAGE; page++)
			s->bits[page / 8] &= (uint8_t) ~(1u << page % 8);
		if (data >= size)
			break;
		end = lseek(fd, data, SEEK_HOLE);
		if (end < 0)
			return -errno;
	}
	return 0;
}

static int record(pid_t pid, int mem_fd, struct working_set *ret)
{
	struct stat st;
	if (sysconf(_SC_PAGESIZE) != PAGE)
		return -EOPNOTSUPP;
	if (fstat(mem_fd, &st) < 0)
		return -errno;
	uint64_t size = (uint64_t)st.st_size;
	if (size / PAGE > PAGES_MAX || size % PAGE)
		return -EFBIG;
	AUTO_DONE(working_set) s = { .n_pages = size / PAGE };
	s.bits = calloc(1, bitmap_size(s.n_pages) + 1);
	if (!s.bits)
		return -ENOMEM;
	int r = pages_each_mapping(pid, &st, look, &s);
	if (r == 0)
		r = clear_holes(mem_fd, &s);
	if (r < 0)
		return r;
	count(&s);
	*ret = s;
	s = (struct working_set){ 0 };
	return 0;
}

int working_set_record(pid_t pid, int mem_fd, struct working_set *ret, struct mvm_error *err)
{
	int r = record(pid, mem_fd, ret);
	return r < 0 ? mvm_error_set(err, r, "cannot see which memory a clone needs: %s",
				     strerror(-r))
		     : 0;
}

int working_set_save(int dir_fd, const struct working_set *s, struct mvm_error *err)
{
	struct header header = {
		.magic = MAGIC,
		.page_size = htole32(PAGE),
		.n_pages = htole64(s->n_pages),
	};
	AUTO_DONE(strbuf) bytes = { 0 };
	strbuf_add(&bytes, (const char *)&header, sizeof(header));
	strbuf_add(&bytes, (const char *)s->bits, bitmap_size(s->n_pages));
	if (bytes.failed)
		return mvm_error_oom(err);
	int r = file_create_at(dir_fd, WORKING_SET_NAME, bytes.data, bytes.len, 0600);
	return r < 0 ? mvm_error_set(err, r, "cannot write " WORKING_SET_NAME ": %s", strerror(-r))
		     : 0;
}

static int bad(struct mvm_error *err, const char *why)
{
	return mvm_error_set(err, -EBADMSG, WORKING_SET_NAME ": %s", why);
}

int working_set_parse(const void *data, size_t len, uint64_t mem_size, struct working_set *ret,
		      struct mvm_error *err)
{
	struct header header;
	if (len < sizeof(header))
		return bad(err, "is too short");
	memcpy(&header, data, sizeof(header));
	if (memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0)
		return bad(err, "is no working set");
	if (le32toh(header.page_size) != PAGE || header.reserved != 0)
		return bad(err, "has an unknown page size or format");
	uint64_t n_pages = le64toh(header.n_pages);
	if (n_pages > PAGES_MAX || n_pages != mem_size / PAGE || mem_size % PAGE)
		return bad(err, "is for memory of another size");
	if (len - sizeof(header) != bitmap_size(n_pages))
		return bad(err, "does not have one bit for each page");
	const uint8_t *bits = (const uint8_t *)data + sizeof(header);
	if (n_pages % 8 && bits[n_pages / 8] >> n_pages % 8)
		return bad(err, "has pages beyond the end of memory");

	struct working_set s = { .n_pages = n_pages, .bits = malloc(bitmap_size(n_pages) + 1) };
	if (!s.bits)
		return mvm_error_oom(err);
	memcpy(s.bits, bits, bitmap_size(n_pages));
	count(&s);
	*ret = s;
	return 0;
}

/* Find the next run of pages to read with one request, from *page on.  Returns its length; *page is
 * its first page. */
static uint64_t next_run(const struct working_set *s, uint64_t *page)
{
	while (*page < s->n_pages && !is_set(s, *page))
		*page += s->bits[*page / 8] ? 1 : 8 - *page % 8;
	uint64_t end = *page;
	for (uint64_t i = *page; i < s->n_pages && i - end <= GAP_MAX; i++) {
		if (is_set(s, i))
			end = i + 1;
	}
	return end - *page;
}

/* Is a page in the page cache?  Without RWF_NOWAIT: no. */
static bool is_cached(int fd, uint64_t page)
{
	char byte;
	struct iovec to = { &byte, 1 };
	return preadv2(fd, &to, 1, (off_t)(page * PAGE), RWF_NOWAIT) == 1;
}

/* Are all sampled pages cached?  Then the page cache has hardly lost the others. */
static bool is_warm(int fd, const struct working_set *s)
{
	uint64_t step = s->n_set / SAMPLES + 1, n = 0;
	for (uint64_t page = 0; page < s->n_pages; page += s->bits[page / 8] ? 1 : 8) {
		if (is_set(s, page) && n++ % step == 0 && !is_cached(fd, page))
			return false;
	}
	return true;
}

static uint64_t read_runs(int fd, const struct working_set *s)
{
	uint64_t asked = 0, page = 0, n;
	while ((n = next_run(s, &page)) > 0) {
		for (uint64_t at = 0; at < n * PAGE; at += REQUEST) {
			uint64_t left = n * PAGE - at;
			if (readahead(fd, (off64_t)(page * PAGE + at),
				      (size_t)(left < REQUEST ? left : REQUEST)) < 0)
				return asked; /* the restore is only slower */
		}
		asked += n * PAGE;
		page += n;
	}
	return asked;
}

uint64_t working_set_read_ahead(int dir_fd, uint64_t mem_size)
{
	AUTO_DONE(working_set) s = { 0 };
	AUTO_FREE char *data = NULL;
	size_t len = 0, most = sizeof(struct header) + bitmap_size(mem_size / PAGE);

	/* errors do not matter here: the restore reports them */
	if (mem_size / PAGE > PAGES_MAX ||
	    file_read_at(dir_fd, WORKING_SET_NAME, most, &data, &len) < 0 ||
	    working_set_parse(data, len, mem_size, &s, NULL) < 0)
		return 0;
	AUTO_CLOSE int fd = openat(dir_fd, "mem.bin", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 || is_warm(fd, &s) ? 0 : read_runs(fd, &s);
}
