/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <fcntl.h>
#include <limits.h>
#include <mvm/paths.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "codec/json.h"
#include "say.h"

#define PATH_MAX_LEN 512 /* of a path in a line; the rest is cut off */

static void old_name(const struct audit *a, char ret[NAME_MAX])
{
	snprintf(ret, NAME_MAX, "%s.1", a->name);
}

static int open_file(struct audit *a)
{
	struct stat st;
	char old[NAME_MAX];

	old_name(a, old);
	a->fd = file_open_append(a->dir_fd, a->name, old);
	if (a->fd < 0)
		return a->fd;
	a->bytes = fstat(a->fd, &st) < 0 ? 0 : st.st_size;
	return 0;
}

int audit_open(const char *data_dir, const char *name, struct audit *ret, struct mvm_error *err)
{
	AUTO_FREE char *path = mvm_data_dir(data_dir);
	struct audit a = AUDIT_NONE;

	if (!path)
		return mvm_error_oom(err);
	a.name = name;
	AUTO_CLOSE int root = dir_open_at(AT_FDCWD, path);
	int r = root < 0 ? root : dir_make_at(root, "logs");
	if (r >= 0) {
		a.dir_fd = r;
		r = open_file(&a);
	}
	if (r < 0) {
		audit_close(&a);
		return mvm_error_set(err, r, "cannot open '%s/logs/%s': %s", path, name,
				     strerror(-r));
	}
	*ret = a;
	return 0;
}

void audit_close(struct audit *a)
{
	auto_close(&a->fd);
	auto_close(&a->dir_fd);
	a->fd = a->dir_fd = -1;
}

/* Begin a new file once this one is full.  If that fails, this one grows on. */
static void rotate(struct audit *a)
{
	char old[NAME_MAX];

	if (a->fd >= 0 && a->bytes < AUDIT_MAX_BYTES)
		return;
	old_name(a, old);
	if (a->fd >= 0 && renameat(a->dir_fd, a->name, a->dir_fd, old) < 0)
		return;
	auto_close(&a->fd);
	open_file(a); /* the next line tries again */
}

static char *make_line(const struct audit_line *l)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	char path[PATH_MAX_LEN];

	snprintf(path, sizeof(path), "%s", l->path ? l->path : "");
	json_put_time(&out, o, "time", clock_wall_ns() / NS_PER_S);
	if (l->client)
		json_put_text(&out, o, "client", l->client);
	if (l->from)
		json_put_text(&out, o, "from", l->from);
	json_put_text(&out, o, "method", l->method ? l->method : "");
	json_put_text(&out, o, "path", path);
	if (l->instance)
		json_put_text(&out, o, "instance", l->instance);
	if (l->operation)
		json_put_text(&out, o, "operation", l->operation);
	json_put_u64(&out, o, "status", l->status);
	if (l->code)
		json_put_text(&out, o, "code", l->code);
	json_put_u64(&out, o, "ms", (uint64_t)l->ms);
	char *text = out.failed ? NULL : json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

void audit_write(struct audit *a, const struct audit_line *line)
{
	AUTO_FREE char *json = make_line(line);
	AUTO_FREE char *text = json ? str_printf("%s\n", json) : NULL;

	if (a->dir_fd < 0)
		return;
	rotate(a);
	const size_t len = text ? strlen(text) : 0;
	const ssize_t n = len == 0 || a->fd < 0 ? -1 : write(a->fd, text, len);
	if (n == (ssize_t)len) {
		a->bytes += n;
		a->lost = 0;
		return;
	}
	if (n > 0)
		(void)!write(a->fd, "\n", 1); /* so that the next line stands alone */
	if (a->lost++ == 0)
		say(SAY_ERR, "audit", "error", "a line of the audit log is lost", (char *)NULL);
}
