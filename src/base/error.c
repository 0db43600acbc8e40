/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int mvm_error_set_text(struct mvm_error *err, int code, const char *fmt, ...)
{
	assert(code < 0);
	if (!err)
		return code;

	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap); /* a truncated text still helps */
	va_end(ap);
	err->code = code;
	err->hint[0] = err->reason[0] = err->subject[0] = '\0';
	return code;
}

/* Does a part of the text, as other contexts have put it together, begin with this context? */
static bool has_context(const char *text, const char *context)
{
	size_t len = strlen(context);
	for (const char *part = text; part;) {
		if (strncmp(part, context, len) == 0 && strchr(":, ", part[len]))
			return true;
		part = strstr(part, ": ");
		if (part)
			part += 2;
	}
	return false;
}

int mvm_error_context_text(struct mvm_error *err, int code, const char *fmt, ...)
{
	assert(code < 0);
	if (!err)
		return code;

	char tail[sizeof(err->text)];
	memcpy(tail, err->text, sizeof(tail));

	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && has_context(tail, err->text))
		memcpy(err->text, tail, sizeof(tail));
	else if (n >= 0 && (size_t)n < sizeof(err->text))
		snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", tail);
	return code;
}

int mvm_error_more_text(struct mvm_error *err, int code, const char *fmt, ...)
{
	assert(code < 0);
	if (!err)
		return code;

	size_t len = strlen(err->text);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->text + len, sizeof(err->text) - len, fmt, ap);
	va_end(ap);
	return code;
}

int mvm_error_hint_text(struct mvm_error *err, int code, const char *fmt, ...)
{
	assert(code < 0);
	if (!err)
		return code;

	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	return code;
}

int mvm_error_reason_text(struct mvm_error *err, int code, const char *reason, const char *subject)
{
	assert(code < 0);
	if (!err)
		return code;
	snprintf(err->reason, sizeof(err->reason), "%s", reason);
	err->subject[0] = '\0';
	return mvm_error_subject_text(err, code, subject);
}

int mvm_error_reason_unless_text(struct mvm_error *err, int code, const char *reason,
				 const char *subject)
{
	assert(code < 0);
	return err && err->reason[0] ? code : mvm_error_reason_text(err, code, reason, subject);
}

int mvm_error_subject_text(struct mvm_error *err, int code, const char *subject)
{
	assert(code < 0);
	/* half a name is the name of something else */
	if (err && err->reason[0] && !err->subject[0] && subject &&
	    strlen(subject) < sizeof(err->subject))
		memcpy(err->subject, subject, strlen(subject) + 1);
	return code;
}

int mvm_error_hand_on(struct mvm_error *err, const struct mvm_error *why)
{
	if (err)
		*err = *why;
	return mvm_error_negative(why->code);
}

int mvm_error_exit_status(int code)
{
	switch (code) {
	case -EINVAL:
	case -EFBIG:
		return 1;
	case -ENOENT:
		return 3;
	case -EBUSY:
	case -EAGAIN:
	case -EEXIST:
	case -EADDRINUSE:
		return 4;
	case -EBADMSG:
		return 5;
	case -EOPNOTSUPP:
		return 6;
	default:
		return code >= 0 ? 0 : 1;
	}
}
