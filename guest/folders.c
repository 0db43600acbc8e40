/* SPDX-License-Identifier: Apache-2.0 */
#include "folders.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "base/own.h"
#include "base/str.h"

#define LINKS_MAX 40u /* the kernel's limit for one path */

static int make(const char *path, unsigned links);

/* Create the target of a dangling link. */
static int make_target(const char *link, unsigned links)
{
	char target[PATH_MAX];
	ssize_t n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	if (links == 0)
		return -ELOOP;
	target[n] = '\0';
	size_t above = target[0] == '/' ? 0 : (size_t)(strrchr(link, '/') - link) + 1;
	AUTO_FREE char *path = str_printf("%.*s%s", (int)above, link, target);
	return path ? make(path, links - 1) : -ENOMEM;
}

/* Replace a link that leads back to itself, as /run and /var/run may: it names no place. */
static int replace_loop(const char *path)
{
	agent_log("'%s' is a link that leads back to itself: replacing it by a folder", path);
	return unlink(path) < 0 || mkdir(path, 0755) < 0 ? -errno : 0;
}

static int make_one(const char *path, unsigned links)
{
	struct stat st;
	if (mkdir(path, 0755) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) == 0)
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	if (errno == ENOENT)
		return make_target(path, links);
	return errno == ELOOP ? replace_loop(path) : -errno;
}

static int make(const char *path, unsigned links)
{
	AUTO_FREE char *part = strdup(path);
	int r = part ? 0 : -ENOMEM;
	for (size_t i = 1; r == 0 && path[i - 1]; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		part[i] = '\0';
		r = make_one(part, links);
		part[i] = path[i];
	}
	return r;
}

int folders_make(const char *path)
{
	return make(path, LINKS_MAX);
}
