/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_CONSOLE_SESSION_H
#define SERVICE_CONSOLE_SESSION_H

/*
 * Sessions of browsers: a token, used without sending it each time.
 *
 * A session has two secrets, and a request needs both.  The cookie is HttpOnly, so no script can
 * read it.  The key is kept by the console's scripts, in a storage that belongs to their origin,
 * and comes in a header.  Browsers send cookies to every port of a host, also to a port that a
 * guest serves; the guest cannot use such a cookie without the key.  No form or link can send the
 * key, so no other page can use the session.  No page of this origin shows anything of a guest.
 *
 * Sessions are in memory alone.  They end after SESSION_HOURS, with mvmd, and with their token:
 * each request is checked by the token's secret, as if it had come with the token.
 *
 * Threads: the loop only.
 */

#include <stddef.h>
#include <stdint.h>

struct sessions;

#define SESSIONS_MAX	  256u /* one more ends the oldest of the token with the most */
#define SESSION_HOURS	  12LL
#define SESSION_ID_SIZE	  65 /* 64 hex digits */
#define SESSION_TOKEN_MAX 127u

/* NULL when out of memory. */
struct sessions *console_sessions_new(void);
void console_sessions_free(struct sessions *s); /* NULL is fine */

/*
 * Open a session.
 *
 *   token  a valid token's secret, up to SESSION_TOKEN_MAX bytes; copied
 */
void console_session_open(struct sessions *s, const char *token, int64_t now_ns,
			  char ret_cookie[SESSION_ID_SIZE], char ret_key[SESSION_ID_SIZE]);

/*
 * The token of a session; NULL when there is none.  Borrowed until the next call.
 *
 *   cookie, key  what a request has; either may be NULL
 *
 * How long it takes tells nothing about the secrets.
 */
const char *console_session_token(const struct sessions *s, const char *cookie, const char *key,
				  int64_t now_ns);

void console_session_close(struct sessions *s, const char *cookie, const char *key);

/*
 * Find a cookie in a Cookie header.
 *
 *   header  may be NULL
 *   ret     its value, which has exactly 64 bytes
 *
 * Returns ret, or NULL when the header has none of that name or its value has another length.
 */
const char *console_session_cookie(const char *header, const char *name, char ret[SESSION_ID_SIZE]);

#endif
