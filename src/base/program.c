/* SPDX-License-Identifier: Apache-2.0 */
#include "base/program.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static int try_path(char *path, char **ret)
{
	AUTO_FREE char *owned = path;
	if (!owned)
		return -ENOMEM;
	if (access(owned, R_OK) < 0)
		return -ENOENT;
	*ret = TAKE_PTR(owned);
	return 0;
}

int program_helper_path(const char *name, char **ret)
{
	const char *dir = getenv("MVM_LIBEXEC_DIR");
	if (!str_empty(dir))
		return try_path(str_printf("%s/%s", dir, name), ret);

	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n > 0) {
		exe[n] = '\0';
		char *slash = strrchr(exe, '/');
		*(slash ? slash : exe) = '\0';
		int r = try_path(str_printf("%s/%s", exe, name), ret);
		if (r == -ENOENT)
			r = try_path(str_printf("%s/../libexec/mvm/%s", exe, name), ret);
		if (r != -ENOENT)
			return r;
	}
	return try_path(str_printf("%s/%s", MVM_LIBEXECDIR, name), ret);
}
