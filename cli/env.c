/* SPDX-License-Identifier: Apache-2.0 */
#include "env.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define FILE_MAX_BYTES	((size_t)1 << 20) /* of which a workload takes 32 KiB at the most */
#define BYTE_ORDER_MARK "\xef\xbb\xbf"

static const char blanks[] = " \t\v\f";

/* As in container tools, a name may be one that a shell cannot set. */
static bool is_variable(const char *s)
{
	return s[0] != '=' && s[strcspn(s, "=")] == '=';
}

static bool is_utf8(const char *s)
{
	size_t len;
	while ((len = str_utf8_len(s)) > 0)
		s += len;
	return *s == '\0';
}

/* One line without its end. */
static int take_line(struct cli_context *c, const char *path, unsigned number, char *line,
		     size_t len, struct strv *ret)
{
	if (len && line[len - 1] == '\r') /* written on Windows */
		len--;
	if (memchr(line, '\0', len))
		return cli_usage(c, "%s:%u: a variable cannot contain a NUL byte", path, number);
	line[len] = '\0';
	line += strspn(line, blanks);
	if (*line == '\0' || *line == '#')
		return 0;
	if (!is_utf8(line))
		return cli_usage(c, "%s:%u: it is not UTF-8", path, number);
	if (!is_variable(line))
		return cli_usage(c, "%s:%u: '%.80s' is not NAME=VALUE", path, number, line);
	size_t name = strcspn(line, "=");
	if (strcspn(line, blanks) < name)
		return cli_usage(c, "%s:%u: the name '%.*s' has blanks in it", path, number,
				 name < 80 ? (int)name : 80, line);
	strv_add(ret, line);
	return 0;
}

static int read_file(struct cli_context *c, const char *path, struct strbuf *ret)
{
	AUTO_FCLOSE FILE *file = fopen(path, "re");
	char chunk[4096];
	size_t n;

	if (!file)
		return cli_error(c, -errno, "cannot open '%s': %s", path, strerror(errno));
	while (!ret->failed && (n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
		if (n > FILE_MAX_BYTES - ret->len)
			return cli_error(c, -EFBIG, "'%s' is larger than 1 MiB", path);
		strbuf_add(ret, chunk, n);
	}
	if (ferror(file))
		return cli_error(c, -errno, "cannot read '%s': %s", path, strerror(errno));
	return ret->failed ? -ENOMEM : 0;
}

static int take_file(struct cli_context *c, const char *path, struct strv *ret)
{
	AUTO_DONE(strbuf) text = { 0 };
	unsigned number = 0;

	int r = read_file(c, path, &text);
	if (r < 0 || text.len == 0)
		return r;
	char *line = text.data, *end = text.data + text.len;
	if (str_starts(line, BYTE_ORDER_MARK))
		line += strlen(BYTE_ORDER_MARK);
	while (r == 0 && line < end) {
		char *newline = memchr(line, '\n', (size_t)(end - line));
		char *stop = newline ? newline : end;
		r = take_line(c, path, ++number, line, (size_t)(stop - line), ret);
		line = stop + 1;
	}
	return r;
}

int env_collect(struct cli_context *c, const struct args *a, struct strv *ret)
{
	const struct strv *files = args_list(a, "env-file"), *env = args_list(a, "env");
	int r = 0;

	for (size_t i = 0; r == 0 && i < files->n; i++)
		r = take_file(c, files->v[i], ret);
	for (size_t i = 0; r == 0 && i < env->n; i++) {
		if (!is_variable(env->v[i]))
			return cli_usage(c, "option '--env': '%s' is not NAME=VALUE", env->v[i]);
		if (!is_utf8(env->v[i]))
			return cli_usage(c, "option '--env': '%s' is not UTF-8", env->v[i]);
		strv_add(ret, env->v[i]);
	}
	return ret->failed ? -ENOMEM : r;
}
