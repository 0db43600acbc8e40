/* SPDX-License-Identifier: Apache-2.0 */
#include "image/deb.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

#define MAGIC	    "!<arch>\n"
#define MAGIC_LEN   (sizeof(MAGIC) - 1)
#define HEADER_END  "`\n"
#define MEMBERS_MAX 32

struct header {
	char name[16], mtime[12], uid[6], gid[6], mode[8], size[10], end[2];
};
_Static_assert(sizeof(struct header) == 60, "ar's header");

/* Read len bytes at an offset.  Returns 1, 0 if the file ends earlier, or -errno. */
static int read_at(int fd, void *ret, size_t len, uint64_t offset)
{
	ssize_t n = file_read_range(fd, ret, len, offset);
	return n < 0 ? (int)n : n == (ssize_t)len;
}

int deb_is(int fd)
{
	char magic[MAGIC_LEN];
	int r = read_at(fd, magic, sizeof(magic), 0);
	return r > 0 ? memcmp(magic, MAGIC, sizeof(magic)) == 0 : r;
}

/* Decimal digits, then spaces. */
static bool parse_size(const char text[10], uint64_t *ret)
{
	size_t i = 0;

	*ret = 0;
	for (; i < 10 && text[i] >= '0' && text[i] <= '9'; i++)
		*ret = *ret * 10 + (uint64_t)(text[i] - '0');
	if (i == 0)
		return false;
	while (i < 10 && text[i] == ' ')
		i++;
	return i == 10;
}

int deb_find_data(int fd, const char *name, struct deb_member *ret, struct mvm_error *err)
{
	static const char data_tar[] = "data.tar"; /* an ending like ".xz" may follow */
	uint64_t at = MAGIC_LEN, size = 0;
	struct header h;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return mvm_error_set(err, -errno, "cannot read '%s': %s", name, strerror(errno));
	for (unsigned i = 0; i < MEMBERS_MAX && at < (uint64_t)st.st_size; i++) {
		int r = read_at(fd, &h, sizeof(h), at);
		if (r < 0)
			return mvm_error_set(err, r, "cannot read '%s': %s", name, strerror(-r));
		if (r == 0)
			return mvm_error_set(err, -EBADMSG, "'%s' is damaged: it ends too early",
					     name);
		if (memcmp(h.end, HEADER_END, sizeof(h.end)) != 0 || !parse_size(h.size, &size))
			return mvm_error_set(err, -EBADMSG,
					     "'%s' is damaged: member %u has no header", name,
					     i + 1);
		at += sizeof(h);
		if (size > (uint64_t)st.st_size - at)
			return mvm_error_set(err, -EBADMSG, "'%s' is damaged: it ends too early",
					     name);
		if (strncmp(h.name, data_tar, sizeof(data_tar) - 1) == 0) {
			*ret = (struct deb_member){ .offset = at, .size = size };
			return 0;
		}
		at += size + size % 2; /* a newline makes an odd size even */
	}
	return mvm_error_set(err, -EINVAL, "'%s' is no Debian package: it has no data.tar", name);
}
