/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_ENVD_H
#define SERVICE_E2B_ENVD_H

/*
 * What the requests to a sandbox's guest share: whose they are, their bodies and failures, and the
 * Connect protocol (JSON only; https://connectrpc.com/docs/protocol).
 */

#include <jansson.h>
#include <mvm/stream.h>
#include <stdbool.h>

#include "base/str.h"
#include "e2b/e2b.h"

#define ENVD_BODY_MAX ((size_t)6 * 1024 * 1024) /* of a call, which may carry input */
#define USER_MAX      64

/* A call: its sandbox, user and body.  The request's own data; handlers embed it first. */
struct envd_call {
	struct strbuf body;
	json_t *json; /* the message; of a stream its first one */
	char user[USER_MAX];
};

/* Routes' hooks: prepare, begin, upload and fail of a unary call, and of one that answers with a
 * stream. */
int envd_prepare(struct request *rq, struct mvm_error *err);
int envd_begin(struct request *rq, struct mvm_error *err);
int envd_upload(struct request *rq, const char *data, size_t *len, struct mvm_error *err);
void envd_fail(struct request *rq, unsigned status, const struct mvm_error *err);
void envd_fail_stream(struct request *rq, unsigned status, const struct mvm_error *err);

/* Parse the body, a message or one in a frame.  After it, envd_call.json is an object. */
int envd_take(struct request *rq, bool framed, struct mvm_error *err);

/*
 * The request's sandbox, by its header or host name.  -EHOSTDOWN, which becomes 502, when it is
 * gone or paused; -EKEYREJECTED for a wrong token.
 *
 *   signed_too  a missing token is fine here: the caller checks a signature
 */
int envd_sandbox(struct request *rq, bool signed_too, struct sandbox **ret, struct mvm_error *err);

/* The sandbox that a request names by its header or host name; NULL: it has gone, or none. */
struct sandbox *envd_named(const struct request *rq);

/* Wake it, if a request can, for a client that may use its guest.  As sandbox_wake_for(). */
int envd_wake(struct request *rq, struct sandbox *s, bool may, struct mvm_error *err);

/* Are two secrets the same? */
bool envd_same(const char *a, const char *b);

/* The user of the request's Authorization header or, if that is missing, `user`. */
void envd_user(struct request *rq, char ret[USER_MAX]);

/* The Connect word for a failure: "not_found". */
const char *envd_word(int code);

/* Frame a message; takes it over. */
struct stream;
int envd_send(struct stream *s, json_t *message);
void envd_end(struct stream *s, const struct mvm_error *err); /* the end's frame; NULL: success */

/* Seconds of Keepalive-Ping-Interval. */
int64_t envd_keepalive_ms(struct request *rq);

/* A text that is UTF-8 whatever the guest sends. */
json_t *envd_text(const char *s);

/* The variables of a sandbox and of a request, as "K=V". */
void envd_variables(const struct sandbox *s, json_t *more, const char *user, struct strv *ret);

/* ---- guest_files.c: what the guest's agent does with files ---- */

struct guest_files;
typedef void (*guest_files_fn)(void *arg, int status, struct strbuf *out, const char *text);

/*
 * Let the agent do a verb (guest/files.h) and gather what it prints, up to 16 MiB.
 *
 *   fn  called once, on the loop: the status 0 or an errno, the output, and what standard error
 *       says; or, when the guest went, with EHOSTDOWN.  Not called when this fails.
 */
int guest_files(struct request *rq, struct sandbox *s, const char *const *command, const char *user,
		guest_files_fn fn, void *arg, struct mvm_error *err);

/* Read the entry at the front of an agent's output.  Returns how many bytes it has; 0: it is not
 * whole; -EPROTO.  *ret: an EntryInfo. */
ssize_t guest_entry_json(const char *data, size_t len, json_t **ret);

/* The routes' functions. */
int process_start(struct request *rq, struct mvm_error *err);
int process_connect(struct request *rq, struct mvm_error *err);
int process_list(struct request *rq, struct mvm_error *err);
int process_update(struct request *rq, struct mvm_error *err);
int process_stream_input(struct request *rq, struct mvm_error *err);
int process_send_input(struct request *rq, struct mvm_error *err);
int process_send_signal(struct request *rq, struct mvm_error *err);
int process_close_stdin(struct request *rq, struct mvm_error *err);
int filesystem_call(struct request *rq, struct mvm_error *err);
int filesystem_watch(struct request *rq, struct mvm_error *err);
int filesystem_create_watcher(struct request *rq, struct mvm_error *err);
int filesystem_watcher_events(struct request *rq, struct mvm_error *err);
int filesystem_remove_watcher(struct request *rq, struct mvm_error *err);
int files_prepare(struct request *rq, struct mvm_error *err);
int files_get(struct request *rq, struct mvm_error *err);
int files_begin(struct request *rq, struct mvm_error *err);
int files_upload(struct request *rq, const char *data, size_t *len, struct mvm_error *err);
int files_post(struct request *rq, struct mvm_error *err);

#endif
