/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/reply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "base/visible.h"
#include "codec/json.h"
#include "codec/sha256.h"

bool reply_header(const char *line, size_t len, const char *name, const char **ret, size_t *ret_len)
{
	const size_t n = strlen(name);

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return false;
	const char *value = line + n + 1, *end = line + len;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
		end--;
	*ret = value;
	*ret_len = (size_t)(end - value);
	return true;
}

int reply_digest(const char *s, size_t len, struct mvm_digest *ret)
{
	const size_t tag = strlen(REPLY_DIGEST_TAG);
	char hex[DIGEST_HEX_SIZE];

	if (len != tag + DIGEST_HEX_SIZE - 1 || memcmp(s, REPLY_DIGEST_TAG, tag) != 0)
		return -EINVAL;
	memcpy(hex, s + tag, DIGEST_HEX_SIZE - 1);
	hex[DIGEST_HEX_SIZE - 1] = '\0';
	return digest_parse(hex, ret);
}

int reply_range(const char *s, size_t len, uint64_t *ret_first, uint64_t *ret_total)
{
	static const char unit[] = "bytes ";
	uint64_t first, total = UINT64_MAX;
	char text[80];

	if (len >= sizeof(text) || len < strlen(unit) || memcmp(s, unit, strlen(unit)) != 0)
		return -EINVAL;
	memcpy(text, s + strlen(unit), len - strlen(unit));
	text[len - strlen(unit)] = '\0';
	char *dash = strchr(text, '-'), *slash = strchr(text, '/');
	if (!dash || !slash || slash < dash)
		return -EINVAL;
	*dash = '\0';
	if (parse_u64(text, 0, INT64_MAX, &first) < 0)
		return -EINVAL;
	if (strcmp(slash + 1, "*") != 0 && parse_u64(slash + 1, 0, INT64_MAX, &total) < 0)
		return -EINVAL;
	*ret_first = first;
	*ret_total = total;
	return 0;
}

static bool is_header_safe(const char *s)
{
	size_t n = 0;

	for (; s[n] > ' ' && s[n] < 0x7f; n++)
		;
	return n > 0 && n <= REPLY_TOKEN_MAX && !s[n];
}

int reply_token(const char *text, size_t len, char **ret, struct mvm_error *err)
{
	static const char *const keys[] = { "token", "access_token" };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	if (json_read(text, len, "token", &doc, NULL) < 0 || !json_is_object(doc))
		return mvm_error_set(err, -EPROTO, "its token service answers no JSON object");
	json_root(&root, "token", doc);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(keys); i++) {
		AUTO_FREE char *token = NULL;
		int r = json_get_string(&root, keys[i], JSON_NULLABLE, &token, NULL);
		if (r == -ENOMEM)
			return mvm_error_oom(err);
		if (r > 0 && is_header_safe(token)) {
			*ret = TAKE_PTR(token);
			return 0;
		}
	}
	return mvm_error_set(err, -EPROTO, "its token service answers without a usable token");
}

void reply_said(const char *text, size_t len, char ret[REPLY_SAID_SIZE])
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_DONE(strbuf) b = { 0 };

	ret[0] = '\0';
	if (len == 0 || len > REPLY_TEXT_MAX || json_read(text, len, "error", &doc, NULL) < 0)
		return;
	const json_t *first = json_array_get(json_object_get(doc, "errors"), 0);
	const char *code = json_string_value(json_object_get(first, "code"));
	const char *message = json_string_value(json_object_get(first, "message"));
	if (!code && !message) /* a token service's own form */
		message = json_string_value(json_object_get(doc, "details"));
	if (code)
		visible_add(&b, code, strlen(code), true);
	if (code && message)
		strbuf_adds(&b, ": ");
	if (message)
		visible_add(&b, message, strlen(message), true);
	if (b.failed || !b.data)
		return;
	for (char *c = b.data; *c; c++) {
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	}
	size_t len_kept = 0, n;
	while ((n = str_utf8_len(b.data + len_kept)) > 0 && len_kept + n < REPLY_SAID_SIZE)
		len_kept += n; /* whole characters */
	memcpy(ret, b.data, len_kept);
	ret[len_kept] = '\0';
}
