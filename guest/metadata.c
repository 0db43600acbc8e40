/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/error.h"

#define PREFIX	  "user.e2b."
#define NAMES_MAX 65536 /* XATTR_LIST_MAX */
#define NAME_SIZE 256	/* XATTR_NAME_MAX and a NUL */

static bool is_printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	}
	return true;
}

static bool is_key(const char *key)
{
	return key[0] && !strchr(key, '=') && is_printable(key, strlen(key));
}

void metadata_read(const char *path, struct strbuf *ret)
{
	static char names[NAMES_MAX];
	char value[METADATA_MAX];
	size_t room = METADATA_MAX;

	ssize_t len = listxattr(path, names, sizeof(names));
	for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		const char *key = name + strlen(PREFIX);
		if (!str_starts(name, PREFIX) || !is_key(key))
			continue;
		ssize_t n = getxattr(path, name, value, sizeof(value));
		if (n < 0 || strlen(key) + (size_t)n > room || !is_printable(value, (size_t)n))
			continue;
		room -= strlen(key) + (size_t)n;
		strbuf_addf(ret, "%s=%.*s\n", key, (int)n, value);
	}
}

static int failed(struct mvm_error *err)
{
	if (errno == EOPNOTSUPP)
		return mvm_error_set(err, -errno,
				     "this file system has no extended attributes: metadata needs "
				     "a root disk, or Linux 6.6 in the guest");
	return mvm_error_set(err, -errno, "cannot write the metadata: %s", strerror(errno));
}

static int remove_all(int fd, struct mvm_error *err)
{
	static char names[NAMES_MAX];
	ssize_t len = flistxattr(fd, names, sizeof(names));
	if (len < 0 && errno != EOPNOTSUPP)
		return failed(err);
	for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		if (str_starts(name, PREFIX) && fremovexattr(fd, name) < 0 && errno != ENODATA)
			return failed(err);
	}
	return 0;
}

int metadata_write(int fd, const char *lines, struct mvm_error *err)
{
	char name[NAME_SIZE];
	int r = remove_all(fd, err);
	for (const char *next; r == 0 && *lines; lines = next) {
		const char *end = strchrnul(lines, '\n');
		size_t key = strcspn(lines, "=\n");
		const char *value = lines + key + 1;
		next = end + (*end == '\n');
		if (key == 0 || value > end || key + strlen(PREFIX) >= sizeof(name))
			return mvm_error_set(err, -EINVAL, "the metadata is no line KEY=VALUE");
		snprintf(name, sizeof(name), "%s%.*s", PREFIX, (int)key, lines);
		if (fsetxattr(fd, name, value, (size_t)(end - value), 0) < 0)
			r = failed(err);
	}
	return r;
}
