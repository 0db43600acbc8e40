/* SPDX-License-Identifier: Apache-2.0 */
#include "console/session.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

struct session {
	char cookie[SESSION_ID_SIZE], key[SESSION_ID_SIZE];
	char token[SESSION_TOKEN_MAX + 1]; /* "": free */
	int64_t opened_ns;
};

struct sessions {
	struct session v[SESSIONS_MAX];
};

struct sessions *console_sessions_new(void)
{
	return calloc(1, sizeof(struct sessions));
}

void console_sessions_free(struct sessions *s)
{
	if (s)
		explicit_bzero(s, sizeof(*s));
	free(s);
}

static void random_id(char ret[SESSION_ID_SIZE])
{
	uint8_t bytes[(SESSION_ID_SIZE - 1) / 2];
	random_bytes(bytes, sizeof(bytes));
	str_hex(bytes, sizeof(bytes), ret);
}

static bool expired(const struct session *one, int64_t now_ns)
{
	return now_ns - one->opened_ns > SESSION_HOURS * 3600 * NS_PER_S;
}

static size_t count(const struct sessions *s, const char *token)
{
	size_t n = 0;
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		n += str_eq(s->v[i].token, token);
	return n;
}

/* A free place, or the oldest session's of the token that has the most: nobody ends the sessions of
 * others by signing in again and again. */
static struct session *find_place(struct sessions *s, int64_t now_ns)
{
	struct session *found = NULL;
	size_t most = 0;
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session *one = &s->v[i];
		if (!*one->token || expired(one, now_ns))
			return one;
		size_t n = count(s, one->token);
		if (!found || n > most || (n == most && one->opened_ns < found->opened_ns)) {
			most = n;
			found = one;
		}
	}
	return found;
}

void console_session_open(struct sessions *s, const char *token, int64_t now_ns,
			  char ret_cookie[SESSION_ID_SIZE], char ret_key[SESSION_ID_SIZE])
{
	struct session *one = find_place(s, now_ns);
	size_t len = strlen(token);

	assert(len > 0 && len <= SESSION_TOKEN_MAX);
	explicit_bzero(one, sizeof(*one));
	random_id(one->cookie);
	random_id(one->key);
	memcpy(one->token, token, len + 1);
	one->opened_ns = now_ns;
	memcpy(ret_cookie, one->cookie, SESSION_ID_SIZE);
	memcpy(ret_key, one->key, SESSION_ID_SIZE);
}

static bool same(const char *a, const char *b)
{
	const size_t len = SESSION_ID_SIZE - 1;
	return strlen(a) == len && strlen(b) == len && str_eq_secret(a, b, len);
}

static const struct session *find(const struct sessions *s, const char *cookie, const char *key)
{
	const struct session *found = NULL;
	if (!cookie || !key)
		return NULL;
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		const struct session *one = &s->v[i];
		bool both = (int)same(one->cookie, cookie) & (int)same(one->key, key);
		if (*one->token && both)
			found = one;
	}
	return found;
}

const char *console_session_token(const struct sessions *s, const char *cookie, const char *key,
				  int64_t now_ns)
{
	const struct session *one = find(s, cookie, key);
	return one && !expired(one, now_ns) ? one->token : NULL;
}

void console_session_close(struct sessions *s, const char *cookie, const char *key)
{
	const struct session *one = find(s, cookie, key);
	if (one)
		explicit_bzero(&s->v[one - s->v], sizeof(*one));
}

const char *console_session_cookie(const char *header, const char *name, char ret[SESSION_ID_SIZE])
{
	size_t name_len = strlen(name);

	for (const char *p = header; p && *p;) {
		p += strspn(p, "; \t");
		size_t len = strcspn(p, ";");
		if (len == name_len + SESSION_ID_SIZE && strncmp(p, name, name_len) == 0 &&
		    p[name_len] == '=') {
			memcpy(ret, p + name_len + 1, SESSION_ID_SIZE - 1);
			ret[SESSION_ID_SIZE - 1] = '\0';
			return ret;
		}
		p += len;
	}
	return NULL;
}
