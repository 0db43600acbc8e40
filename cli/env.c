/* SPDX-License-Identifier: Apache-2.0 */
#include "env.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define LINE_LEN 65536
#define LINES	 10000u

static bool is_variable(const char *s)
{
	return s[0] != '=' && strchr(s, '=');
}

static int read_line(struct cli_context *c, const char *path, unsigned number, char *line,
		     struct strv *ret)
{
	size_t len = strcspn(line, "\n");
	if (len == LINE_LEN - 1 || number > LINES)
		return cli_error(c, -EFBIG, "%s:%u: the line or the file is too long", path,
				 number);
	line[len] = '\0';
	if (len == 0 || line[0] == '#')
		return 0;
	if (!is_variable(line))
		return cli_usage(c, "%s:%u: '%.80s' is not NAME=VALUE", path, number, line);
	strv_add(ret, line);
	return 0;
}

static int read_file(struct cli_context *c, const char *path, struct strv *ret)
{
	AUTO_FREE char *line = malloc(LINE_LEN);
	AUTO_FCLOSE FILE *file = fopen(path, "re");
	unsigned number = 0;
	int r = 0;

	if (!file)
		return cli_error(c, -errno, "cannot open '%s': %s", path, strerror(errno));
	while (line && r == 0 && fgets(line, LINE_LEN, file))
		r = read_line(c, path, ++number, line, ret);
	if (r == 0 && ferror(file))
		return cli_error(c, -EIO, "cannot read '%s': %s", path, strerror(errno));
	return line ? r : -ENOMEM;
}

int env_collect(struct cli_context *c, const struct args *a, struct strv *ret)
{
	const struct strv *files = args_list(a, "env-file"), *env = args_list(a, "env");
	int r = 0;

	for (size_t i = 0; r == 0 && i < files->n; i++)
		r = read_file(c, files->v[i], ret);
	for (size_t i = 0; r == 0 && i < env->n; i++) {
		if (!is_variable(env->v[i]))
			return cli_usage(c, "option '--env': '%s' is not NAME=VALUE", env->v[i]);
		strv_add(ret, env->v[i]);
	}
	return ret->failed ? -ENOMEM : r;
}
