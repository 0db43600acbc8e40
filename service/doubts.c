/* SPDX-License-Identifier: Apache-2.0 */
#include "doubts.h"

#include <ctype.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

struct doubts {
	unsigned host, length, encoding, authorization, origin;
	bool odd;     /* a name that is none, or a value with control characters */
	bool unknown; /* a body in an encoding that we do not know, so we do not see its end */
	const char *folded; /* the name of a header that may hide another one; NULL: none */
};

static bool is_word(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 0x7f)
			return false;
	}
	return true;
}

static bool is_value(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
			return false;
	}
	return true;
}

/* Count a header of this name.  libmicrohttpd adds a folded line to the name of its header, so one
 * that goes on after the name is such a line, and hides a header from us. */
static void count(struct doubts *d, const char *name, const char *wanted, unsigned *ret)
{
	const size_t len = strlen(wanted);
	if (strncasecmp(name, wanted, len) != 0)
		return;
	if (name[len])
		d->folded = name;
	++*ret;
}

static enum MHD_Result look(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len,
			    const char *value, size_t value_len)
{
	struct doubts *d = arg;
	(void)kind;
	d->odd |= !is_word(name, name_len) || !is_value(value, value_len);
	d->unknown |= strcasecmp(name, "Transfer-Encoding") == 0 &&
		      (!value || strcasecmp(value, "chunked") != 0);
	count(d, name, "Host", &d->host);
	count(d, name, "Content-Length", &d->length);
	count(d, name, "Transfer-Encoding", &d->encoding);
	count(d, name, "Authorization", &d->authorization);
	count(d, name, "Origin", &d->origin);
	return MHD_YES;
}

static bool is_method(const char *method)
{
	for (; *method; method++) {
		if (!isalnum((unsigned char)*method) && !strchr("!#$%&'*+-.^_`|~", *method))
			return false;
	}
	return true;
}

static bool is_target(const char *target)
{
	while ((unsigned char)*target > ' ' && *target != 0x7f)
		target++;
	return !*target;
}

int doubts_check(struct MHD_Connection *connection, const char *method, const char *version,
		 const char *target, struct mvm_error *err)
{
	struct doubts d = { 0 };
	MHD_get_connection_values_n(connection, MHD_HEADER_KIND, look, &d);
	if (!is_method(method) || !is_target(target))
		return mvm_error_set(err, -EINVAL, "the request's first line is damaged");
	if (d.odd)
		return mvm_error_set(err, -EINVAL, "the request has a damaged header");
	if (d.folded)
		return mvm_error_set(err, -EINVAL,
				     "the name of the header '%.64s' could be a folded line's",
				     d.folded);
	if (d.length + d.encoding > 1)
		return mvm_error_set(err, -EINVAL, "the request has two lengths");
	if (d.unknown || (d.encoding && strcmp(version, "HTTP/1.0") == 0))
		return mvm_error_set(err, -EINVAL, "the Transfer-Encoding may only be 'chunked'");
	if (d.host > 1 || d.authorization > 1 || d.origin > 1)
		return mvm_error_set(err, -EINVAL, "the request has two of a header");
	return 0;
}
