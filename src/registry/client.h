/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_CLIENT_H
#define REGISTRY_CLIENT_H

/*
 * Transfers from one repository of one registry, several at a time.
 *
 * - The first request goes without credentials.  A challenge (401) leads to a token or to Basic.
 * - libcurl follows redirects and drops our Authorization when host, port or scheme differ.  From
 *   https it never follows to http.
 * - What fails for a moment (a lost connection, 429, 5xx) is tried again: after Retry-After, else
 *   with growing pauses.  A blob goes on where it stopped, by Range; a registry that ignores Range
 *   sends it from the start.  A part of a blob is asked for by a closed Range, and a registry that
 *   ignores that fails with -EOPNOTSUPP.  Every new try begins at the registry, as the URL of a
 * redirect lives for minutes only.
 * - No answer is longer than announced by the manifest, and every digest is compared.
 */

#include <curl/curl.h>
#include <mvm/digest.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "codec/sha256.h"
#include "registry/challenge.h"

/* The registry to ask, and the user's credentials.  Texts are NULL where mvm gives none. */
struct target {
	char *base; /* "https://reg.example:5000" */
	char *host; /* for messages */
	char *path; /* of the repository; "": none, for a login */
	char *user, *password;
	char *identity; /* a refresh token for the token service */
	char *bearer;	/* a token for the registry itself */
	char *from;	/* the file that the credentials come from */
	bool push;	/* ask for the right to push, too */
	bool remove;	/* and to delete */
	char *ca;	/* PEM: certificates that count beside the system's */
	size_t ca_len;
};

struct client {
	struct target target;
	CURLM *multi;
	CURL *easy;	     /* for requests one after another; NULL: none yet */
	char *authorization; /* the header; NULL: none yet */
	unsigned tokens;     /* number of headers so far */
	struct challenge challenge;
	bool answered;	/* the registry has answered once, so a failure may be tried again */
	uint64_t bytes; /* bytes of blobs, those of earlier pulls included */
	/* tell mvm how far the blobs are, or what the client waits for */
	void (*on_bytes)(void *arg, uint64_t bytes);
	void (*on_note)(void *arg, const char *text);
	void *arg;
};

int client_init(struct client *c, struct mvm_error *err);
void client_done(struct client *c);
DEFINE_AUTO_DONE(client, client_done)

enum want { WANT_HEAD, WANT_MANIFEST, WANT_BLOB };

struct transfer {
	enum want want;
	char *reference; /* tag or digest */
	int fd;		 /* where bytes go; -1: none */
	uint64_t size;	 /* BLOB: of what is wanted of it; MANIFEST: at most */
	bool is_part;	 /* BLOB: these three say of what, and where in fd it goes */
	uint64_t from, whole, at;
	bool has_digest; /* BLOB: known beforehand; else set to the registry's word, afterwards */
	struct mvm_digest digest;
	uint64_t have; /* bytes so far */

	/* the client's own */
	struct client *client;
	struct sha256 hash;
	char *url;
	CURL *easy;
	struct curl_slist *headers;
	unsigned tries, asked, restarts, tokens;
	int64_t not_before_ns;
	bool is_done;
	/* the answer to this try */
	struct challenge challenge;
	struct mvm_digest told; /* Docker-Content-Digest */
	bool has_told, has_first, checked;
	uint64_t length, first, total, tried_from;
	size_t header_bytes;
	struct strbuf text; /* of an error */
	int problem;	    /* -errno of a callback, which ended the transfer */
};
void transfer_done(struct transfer *t);
DEFINE_AUTO_DONE(transfer, transfer_done)

/* Run transfers to their end.  0, or the first failure: -ENOENT, -EACCES, -EBUSY (too many
 * requests), -EBADMSG (wrong bytes), -EOPNOTSUPP (no parts), -EREMOTEIO and others. */
int client_run(struct client *c, struct transfer *list, size_t n, struct mvm_error *err);

/* ---- of the client's own files ---- */

/* Give the handle for a request that is made alone, without the options of the last one.  One
 * handle keeps the connection open between requests.  NULL: no memory. */
CURL *client_easy(struct client *c);

/* Set what every request has. */
void client_prepare(struct client *c, CURL *easy, const char *url);

/* Find out how to answer a challenge, and set c->authorization.  0; -EACCES and others. */
int client_authorize(struct client *c, struct mvm_error *err);

/* Judge a try that has ended.  1: done; 0: try again at t->not_before_ns; -errno. */
int client_judge(struct client *c, struct transfer *t, CURLcode code, struct mvm_error *err);

/* Was the connection lost, of a registry that was reached?  Then another try may succeed. */
bool client_is_lost(const struct client *c, CURLcode code);

/* Add what the user can do about a registry that could not be reached.  Returns r. */
int client_hint(const struct target *to, CURLcode code, int r, struct mvm_error *err);

/* When to try again, after the given number of tries.  asked_s: the registry's Retry-After; 0:
 * none.  -EBUSY when it is too long to wait. */
int client_pause(unsigned tries, int64_t asked_s, int64_t *ret_ns);

/* Tell mvm what failed, and how long it is until the next try. */
void client_note_pause(struct client *c, const char *why, int64_t until_ns);

/* Sleep for a pause.  mvm kills us when its user stops it. */
void client_sleep(int64_t until_ns);

/* The body of an answer that is neither manifest nor blob, as far as REPLY_TEXT_MAX. */
struct answer_text {
	struct strbuf text;
	bool too_long;
};
/* CURLOPT_WRITEFUNCTION, with a struct answer_text as CURLOPT_WRITEDATA. */
size_t client_on_text(char *data, size_t one, size_t len, void *arg);

/* Forget a blob's bytes. */
int transfer_restart(struct transfer *t);

#endif
