/* SPDX-License-Identifier: Apache-2.0 */
#include "init.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/own.h"

#define LINKS_MAX 40u /* the kernel's limit for one path */

static bool is_listed(const char *path)
{
	static const char *const inits[] = {
		/* names without a slash are found on PATH */
		"init",
		"systemd",
		"/init",
		"/etc/init",
		"/sbin/init",
		"/bin/init",
		"/usr/sbin/init",
		"/usr/bin/init",
		"/usr/local/sbin/init",
		"/lib/systemd/systemd",
		"/usr/lib/systemd/systemd",
		"/bin/systemd",
		"/usr/bin/systemd",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(inits); i++) {
		if (strcmp(path, inits[i]) == 0)
			return true;
	}
	return false;
}

/* Resolve a path's folders but not its last name.  NULL: a folder does not exist. */
static char *with_real_folder(const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	AUTO_FREE char *folder = str_printf("%.*s", (int)(name - path), path);
	AUTO_FREE char *real = folder ? realpath(folder, NULL) : NULL;
	if (!real)
		return NULL;
	return str_printf("%s/%s", strcmp(real, "/") == 0 ? "" : real, name);
}

static bool leads_to_init(const char *program)
{
	AUTO_FREE char *path = strdup(program);
	for (unsigned i = 0; path && i < LINKS_MAX; i++) {
		char target[PATH_MAX];
		if (is_listed(path))
			return true;
		if (!strchr(path, '/'))
			return false;
		AUTO_FREE char *real = with_real_folder(path);
		if (real && is_listed(real))
			return true;
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			return false;
		target[n] = '\0';
		size_t above = target[0] == '/' ? 0 : (size_t)(strrchr(path, '/') - path) + 1;
		char *next = str_printf("%.*s%s", (int)above, path, target);
		free(path);
		path = next;
	}
	return false;
}

bool init_is_command(const struct strv *args)
{
	if (args->n == 0)
		return false;
	const char *slash = strrchr(args->v[0], '/');
	const char *name = slash ? slash + 1 : args->v[0];
	if (args->n > 1 && strcmp(name, "busybox") == 0 && strcmp(args->v[1], "init") == 0)
		return true;
	return leads_to_init(args->v[0]);
}

const char *init_find(void)
{
	static const char *const paths[] = { "/sbin/init", "/init", "/etc/init" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(paths); i++) {
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	}
	return NULL;
}
