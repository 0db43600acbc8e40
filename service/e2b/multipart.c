/* SPDX-License-Identifier: Apache-2.0 */
#include "e2b/multipart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

/* A parameter of a header, as in `; boundary="x"`.  NULL: it has none, or no memory. */
static char *parameter(const char *header, const char *name)
{
	size_t n = strlen(name);
	AUTO_DONE(strbuf) b = { 0 };
	const char *p = header;
	while ((p = strchr(p, ';'))) {
		p += 1 + strspn(p + 1, " \t");
		if (strncasecmp(p, name, n) != 0 || p[n] != '=')
			continue;
		p += n + 1;
		if (*p != '"')
			return strndup(p, strcspn(p, "; \t\r\n"));
		for (p++; *p && *p != '"'; p++) {
			/* browsers escape a quote as %22; a backslash escapes for others */
			if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
				p++;
			strbuf_add(&b, p, 1);
		}
		return *p == '"' ? strbuf_take(&b) : NULL;
	}
	return NULL;
}

int multipart_init(struct multipart *m, const char *content_type, struct mvm_error *err)
{
	*m = (struct multipart){ .matched = 2,
				 .skip = 2 }; /* the first delimiter has no line before it */
	if (!content_type || strncasecmp(content_type, "multipart/form-data", 19) != 0)
		return mvm_error_set(err, -EINVAL, "the body is no multipart/form-data");
	AUTO_FREE char *boundary = parameter(content_type, "boundary");
	size_t n = boundary ? strlen(boundary) : 0;
	if (n == 0 || n > MULTIPART_BOUNDARY_MAX || strpbrk(boundary, "\r\n"))
		return mvm_error_set(err, -EINVAL, "the Content-Type has no usable boundary");
	memcpy(m->delimiter, "\r\n--", 4);
	memcpy(m->delimiter + 4, boundary, n + 1);
	m->delimiter_len = n + 4;
	return 0;
}

void multipart_done(struct multipart *m)
{
	strbuf_done(&m->head);
	free(m->name);
	free(m->filename);
	*m = (struct multipart){ 0 };
}

/*
 * Look for the delimiter.  It begins with CR, which is nowhere else in it, so after a mismatch only
 * the byte at hand can begin another one.
 *
 * Returns the number of bytes taken.  *ret: contents, if any; *ret_found: the delimiter is
 * complete.
 */
static size_t scan(struct multipart *m, const char *data, size_t len, struct multipart_event *ret,
		   bool *ret_found)
{
	size_t i = 0;
	*ret_found = false;
	while (i < len) {
		if (data[i] == m->delimiter[m->matched]) {
			i++;
			if (++m->matched < m->delimiter_len)
				continue;
			*ret_found = true;
			m->matched = m->skip = 0;
			return i;
		}
		if (m->matched > 0) { /* what looked like a delimiter is contents */
			ret->data = m->delimiter + m->skip;
			ret->len = m->matched - m->skip;
			m->matched = m->skip = 0;
			if (ret->len > 0)
				return i;
			continue;
		}
		const char *cr = memchr(data + i, '\r', len - i);
		ret->data = data + i;
		ret->len = cr ? (size_t)(cr - data) - i : len - i;
		return i + ret->len;
	}
	return i;
}

/* The part's head is complete. */
static int take_head(struct multipart *m, struct mvm_error *err)
{
	AUTO_FREE char *text = strbuf_take(&m->head);
	char *rest = text;
	free(m->name);
	free(m->filename);
	m->name = m->filename = NULL;
	if (!text)
		return mvm_error_oom(err);
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (strncasecmp(line, "Content-Disposition:", 20) != 0)
			continue;
		line[strcspn(line, "\r")] = '\0';
		m->name = parameter(line, "name");
		m->filename = parameter(line, "filename");
	}
	return 0;
}

static int in_head(struct multipart *m, const char *data, size_t *len, struct multipart_event *ret,
		   struct mvm_error *err)
{
	size_t n = 0;
	while (n < *len) {
		strbuf_add(&m->head, &data[n++], 1);
		if (m->head.failed)
			return mvm_error_oom(err);
		if (m->head.len > MULTIPART_HEAD_MAX)
			return mvm_error_set(err, -EINVAL, "a part's head is larger than %zu bytes",
					     MULTIPART_HEAD_MAX);
		size_t end = m->head.len;
		bool whole = (end == 2 && memcmp(m->head.data, "\r\n", 2) == 0) ||
			     (end >= 4 && memcmp(m->head.data + end - 4, "\r\n\r\n", 4) == 0);
		if (!whole)
			continue;
		*len = n;
		if (memchr(m->head.data, 0, end))
			return mvm_error_set(err, -EINVAL, "a part's head has a NUL");
		m->state = IN_DATA;
		m->matched = m->skip = 2; /* in an empty part the line's end is the head's */
		ret->kind = MULTIPART_PART;
		return take_head(m, err);
	}
	return 0;
}

/* After a delimiter comes "--" at the end of all, or the end of its line. */
static int after_delimiter(struct multipart *m, const char *data, size_t *len,
			   struct multipart_event *ret, struct mvm_error *err)
{
	size_t n = 0;
	while (n < *len && m->n_after < 2) {
		char c = data[n++];
		if (m->n_after == 0 && (c == ' ' || c == '\t'))
			continue;
		m->after[m->n_after++] = c;
	}
	*len = n;
	if (m->n_after < 2)
		return 0;
	m->n_after = 0;
	if (memcmp(m->after, "--", 2) == 0) {
		m->state = AT_END;
		ret->kind = MULTIPART_END;
		return 0;
	}
	if (memcmp(m->after, "\r\n", 2) != 0)
		return mvm_error_set(err, -EINVAL, "a part does not begin after its boundary");
	m->state = IN_HEAD;
	return 0;
}

int multipart_next(struct multipart *m, const char *data, size_t *len, struct multipart_event *ret,
		   struct mvm_error *err)
{
	bool found;
	*ret = (struct multipart_event){ .kind = MULTIPART_MORE };
	switch (m->state) {
	case IN_PREAMBLE:
		*len = scan(m, data, *len, ret, &found);
		ret->len = 0;
		if (found)
			m->state = AFTER_DELIMITER;
		return 0;
	case AFTER_DELIMITER:
		return after_delimiter(m, data, len, ret, err);
	case IN_HEAD:
		return in_head(m, data, len, ret, err);
	case IN_DATA:
		*len = scan(m, data, *len, ret, &found);
		if (found) {
			m->state = AFTER_DELIMITER;
			ret->kind = MULTIPART_PART_END;
		} else if (ret->len > 0) {
			ret->kind = MULTIPART_DATA;
		}
		return 0;
	case AT_END:
		ret->kind = MULTIPART_END;
		return 0;
	}
	return 0;
}
