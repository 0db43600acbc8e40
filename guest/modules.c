/* SPDX-License-Identifier: Apache-2.0 */
#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "base/file.h"

#define FOLDER		"/lib/modules/mvm"
#define ORDER_MAX	65536u
#define FLAG_COMPRESSED 4 /* MODULE_INIT_COMPRESSED_FILE, since Linux 5.17 */

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);
	return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

static void load(int dir_fd, const char *file)
{
	AUTO_CLOSE int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int flags = ends_with(file, ".ko") ? 0 : FLAG_COMPRESSED;
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", flags) < 0 && errno != EEXIST))
		agent_log("cannot load module '%s': %s", file, strerror(errno));
}

void modules_load(void)
{
	AUTO_FREE char *order = NULL;
	AUTO_CLOSE int dir = open(FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? -errno : file_read_at(dir, "order", ORDER_MAX, &order, NULL);
	if (r < 0) {
		if (r != -ENOENT)
			agent_log("cannot read '" FOLDER "/order': %s", strerror(-r));
		return;
	}
	char *rest = order;
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (*line)
			load(dir, line);
	}
}
