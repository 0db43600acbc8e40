/* SPDX-License-Identifier: Apache-2.0 */
#include "model/label.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "model/strings.h"

#define KEY_FIRST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define KEY_REST  KEY_FIRST "._/-"

/* UTF-8 without control characters: C0, DEL, and C1, which begins with 0xc2. */
static bool value_ok(const char *s)
{
	while (*s) {
		unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];
		size_t len = str_utf8_len(s);
		if (len == 0 || c < ' ' || c == 0x7f || (c == 0xc2 && next < 0xa0))
			return false;
		s += len;
	}
	return true;
}

int label_check(const char *text, struct mvm_error *err)
{
	size_t key = strcspn(text, "=");
	if (key == 0 || key > LABEL_KEY_MAX || !strchr(KEY_FIRST, text[0]) ||
	    strspn(text, KEY_REST) < key)
		return mvm_error_set(
			err, -EINVAL,
			"'%.80s' is no label: its key has 1 to %u of A-Z a-z 0-9 . _ / "
			"-, and starts with a letter or digit",
			text, LABEL_KEY_MAX);
	if (!value_ok(text + key))
		return mvm_error_set(err, -EINVAL,
				     "label '%.*s': a value is UTF-8 without control characters",
				     (int)key, text);
	return 0;
}

/* Does a later label have the same key? */
static bool is_replaced(const char *const *at)
{
	size_t key = strcspn(*at, "=");
	for (const char *const *later = at + 1; *later; later++) {
		if (strcspn(*later, "=") == key && strncmp(*at, *later, key) == 0)
			return true;
	}
	return false;
}

int labels_make(const char *const *list, struct mvm_strings *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) made = { 0 };
	size_t bytes = 0;
	for (; list && *list; list++) {
		int r = label_check(*list, err);
		if (r < 0)
			return r;
		if (is_replaced(list))
			continue;
		strv_addf(&made, "%s%s", *list, strchr(*list, '=') ? "" : "=");
		bytes += strlen(*list);
		if (made.n > LABELS_MAX)
			return mvm_error_set(err, -E2BIG, "an instance has at most %u labels",
					     LABELS_MAX);
		if (bytes > LABELS_BYTES_MAX)
			return mvm_error_set(err, -E2BIG,
					     "an instance's labels have at most %u bytes together",
					     LABELS_BYTES_MAX);
	}
	return strings_take(&made, ret) < 0 ? mvm_error_oom(err) : 0;
}
