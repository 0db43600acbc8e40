/* SPDX-License-Identifier: Apache-2.0 */
#include "e2b/metadata.h"

#include <ctype.h>
#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "e2b/envd.h"
#include "request.h"

#define HEADER	  "X-Metadata-"
#define KEY_MAX	  246 /* with "user.e2b." the name of an extended attribute */
#define BYTES_MAX 4096

struct reading {
	struct strbuf *lines;
	size_t bytes;
	int result;
	struct mvm_error *err;
};

static bool is_printable(const char *s)
{
	while (*s >= 0x20 && *s <= 0x7e)
		s++;
	return !*s;
}

static enum MHD_Result take(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct reading *x = arg;
	const char *key = name + strlen(HEADER);
	(void)kind;
	if (strncasecmp(name, HEADER, strlen(HEADER)) != 0 || !*key)
		return MHD_YES;
	value = value ? value : "";
	x->bytes += strlen(key) + strlen(value);
	if (!is_printable(value))
		x->result = mvm_error_set(x->err, -EINVAL,
					  "the value of '%s' must be printable ASCII", name);
	else if (strchr(key, '='))
		x->result = mvm_error_set(x->err, -EINVAL, "'%s' is no key of metadata", key);
	else if (strlen(key) > KEY_MAX || x->bytes > BYTES_MAX)
		x->result = mvm_error_set(x->err, -EINVAL,
					  "metadata has at most %u bytes, a key %u", BYTES_MAX,
					  KEY_MAX);
	if (x->result < 0)
		return MHD_NO;
	for (; *key; key++) {
		char c = (char)tolower((unsigned char)*key);
		strbuf_add(x->lines, &c, 1);
	}
	strbuf_addf(x->lines, "=%s\n", value);
	return MHD_YES;
}

int metadata_of(const struct request *rq, struct strbuf *ret, struct mvm_error *err)
{
	struct reading x = { .lines = ret, .err = err };
	MHD_get_connection_values(rq->connection, MHD_HEADER_KIND, take, &x);
	return ret->failed ? mvm_error_oom(err) : x.result;
}

json_t *metadata_json(const char *lines)
{
	json_t *all = NULL;
	AUTO_FREE char *copy = *lines ? strdup(lines) : NULL;
	for (char *at = copy, *line; (line = strsep(&at, "\n"));) {
		char *value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = '\0';
		if (!all)
			all = json_object();
		json_object_set_new(all, line, envd_text(value)); /* left out if it is no UTF-8 */
	}
	return all;
}
