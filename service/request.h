/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_REQUEST_H
#define SERVICE_REQUEST_H

/*
 * One request and its reply.
 *
 * Lifetime: request.c makes a request when its head has come.  It lives until its reply was sent or
 * its client has gone, and until its work has ended: both hold a reference.  A handler that keeps a
 * request for later takes one too (request_ref()).  After the client has gone, replies are dropped;
 * request_gone() tells.  Work that is no operation goes on then, but does not wait long any more,
 * and that of a GET not at all.  Only what is done in any case (`lasts`) waits as long as it takes.
 *
 * Threads: everything happens on the loop, except where a comment says "any thread".  Those
 * functions read what does not change once the handler was called, or belong to the request's own
 * work.
 *
 * A reply is given once.  A reply that is not given when the handler returns suspends the request:
 * it costs no thread until then.
 */

#include <jansson.h>
#include <mvm/error.h>
#include <mvm/progress.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"
#include "codec/json.h"
#include "limits.h"
#include "query.h"
#include "route.h"
#include "worker.h"

struct server;
struct listener;
struct operation;
struct MHD_Connection;
struct MHD_Response;

/* of a JSON body, where the route names no other limit */
#define REQUEST_BODY_MAX   ((size_t)1024 * 1024)
#define REQUEST_PARAMS_MAX 32

struct request {
	/* the question; it does not change once the handler was called */
	struct server *server;
	const struct listener *listener;
	const struct route *route; /* NULL: there is none */
	char *method;
	char *target; /* as the client sent it; then cut at the "?" */
	struct route_match match;
	char *query; /* as the client sent it, without its "?"; NULL: none */
	struct query_param params[REQUEST_PARAMS_MAX]; /* of the query, decoded */
	size_t n_params;
	json_t *json;	      /* the body, an object; NULL: the route takes none */
	struct json_at body;  /* its place, for json_get_…() */
	uid_t peer_uid;	      /* Unix socket: who asks; else (uid_t)-1 */
	struct client client; /* who asks, and what it may use (limits.h) */
	char from[46];	      /* its address; "": a Unix socket */
	bool known;	      /* it has shown who it is */
	const char *owner;    /* of its work (worker.h): the token; "" of who shows none */
	bool async;	      /* the client wants an operation, not its end */
	bool lasts;	      /* its work is done, also if its client goes while it waits */

	/* the answer of its work, which a worker leaves */
	unsigned status;
	json_t *answer;
	char *next; /* of a list: what gives its next page; owned */
	struct mvm_error err;
	const struct mvm_progress *progress; /* for the library's calls; never NULL */

	/* a handler's own data; own_free is called with it at the request's end */
	void *own;
	void (*own_free)(void *own);

	/* a handler's own, on the loop once request_work()'s function has ended; may be NULL */
	void (*worked)(struct request *rq);

	/* request_on_gone()'s */
	void (*gone)(void *arg);
	void *gone_arg;
	struct loop_source *gone_timer; /* holds a reference */

	struct operation *operation; /* NULL: its work is none */

	/* request.c's */
	struct work work;
	work_fn work_fn;
	struct mvm_progress waits; /* its work's, if it is no operation */
	_Atomic int64_t wait_until_ns;
	struct MHD_Connection *connection;    /* NULL: the client has gone, or has its reply */
	struct request *next_request, **link; /* the server's list */
	size_t discarded;		      /* bytes of the body so far */
	struct strbuf text;		      /* of the body */
	struct MHD_Response *response;
	unsigned response_status;
	struct strv headers; /* of the reply: name, value, name, … */
	struct loop_source *watch;
	unsigned refs;
	int64_t begun_ns;
	const char *fail_code; /* the word of the failure that it gets; NULL: none */
	bool begun, held, opened, called, suspended, dropped, replied;
};

/* ---- reading; any thread ---- */

/* What the pattern's i-th "{…}" stands for. */
static inline const char *request_arg(const struct request *rq, size_t i)
{
	return rq->match.args[i];
}

/* The value of a query parameter; NULL: it is not given. */
const char *request_query(const struct request *rq, const char *name);

/* A number of the query from min to max; *ret stays when it is not given.  0 or -EINVAL. */
int request_query_u64(const struct request *rq, const char *name, uint64_t min, uint64_t max,
		      uint64_t *ret, struct mvm_error *err);

/* "true", "1" and "" set *ret, "false" and "0" clear it; it stays when not given.  0 or -EINVAL. */
int request_query_bool(const struct request *rq, const char *name, bool *ret,
		       struct mvm_error *err);

/* Seconds of the query ("90", "1.5", "5m") in milliseconds; *ret stays when it is not given. */
int request_query_ms(const struct request *rq, const char *name, int64_t max_ms, int64_t *ret,
		     struct mvm_error *err);

/* The body's members are read with codec/json.h from &rq->body.  Its getters call wrong members
 * -EBADMSG, which here is the client's fault: return request_bad_body(r, err). */
int request_bad_body(int r, struct mvm_error *err);

/* Refuse members of an object that are not known, so that a misspelt one is not ignored. */
int request_only(const struct json_at *at, const char *const *known, size_t n,
		 struct mvm_error *err);

/* ---- the answer of a route's work; on its worker ---- */

/* Leave the answer; takes over metadata (NULL: out of memory, which becomes the failure).  Returns
 * 0, or -ENOMEM with err filled. */
int request_answer(struct request *rq, unsigned status, json_t *metadata, struct mvm_error *err);

/* Call fn when the client has gone and the request has had no reply since: of a GET at once, else
 * after as long as its work may wait.  So a guest that never answers keeps nothing of a client that
 * went.  fn gives the reply.  On the loop. */
void request_on_gone(struct request *rq, void (*fn)(void *arg), void *arg);

/* reply.c's: it has its reply. */
void request_forget_gone(struct request *rq);

/* ---- replies; on the loop ---- */

/* A header of the request, or NULL. */
const char *request_header(const struct request *rq, const char *name);

bool request_gone(const struct request *rq);

/* Add a header to the reply that follows. */
void request_add_header(struct request *rq, const char *name, const char *value);

/* {"type":"sync","status":…,"metadata":…}; takes over metadata. */
void request_reply(struct request *rq, unsigned status, json_t *metadata);

/* {"type":"error",…}, or as the route shapes its failures. */
void request_fail(struct request *rq, const struct mvm_error *err);

/* Any text; copied. */
void request_reply_text(struct request *rq, unsigned status, const char *type, const void *data,
			size_t len);

/* A JSON value in a shape of one's own; takes over value. */
void request_reply_json(struct request *rq, unsigned status, json_t *value);

/* A response of libmicrohttpd's, such as an upgrade to a WebSocket; takes it over. */
void request_reply_response(struct request *rq, unsigned status, struct MHD_Response *response);

/* ---- work ---- */

/* Run fn on a worker.  Then, on the loop, the request gets its answer or failure as the reply. */
int request_work(struct request *rq, enum work_class class, work_fn fn, struct mvm_error *err);

/* The upload function took less than it got, and now can take more. */
void request_more(struct request *rq);

/* What prepare (route.h) waited for is there. */
void request_go_on(struct request *rq);

struct request *request_ref(struct request *rq);
void request_unref(struct request *rq); /* NULL is fine */

/* ---- for server.c ---- */

struct request *request_new(struct server *server, const struct listener *listener,
			    const char *target);
/* A step of libmicrohttpd's access handler.  False: close the connection. */
bool request_step(struct request *rq, struct MHD_Connection *connection, const char *method,
		  const char *version, const char *upload, size_t *upload_len);
/* Its reply was sent, or its client has gone. */
void request_completed(struct request *rq);
/* Nobody will get its reply.  What its work waits for after that time, such as a lock, fails with
 * -ECANCELED. */
void request_give_up(struct request *rq, int64_t deadline_ns);

/* ---- for stream.c ---- */

/* Stop and continue sending.  Meanwhile a client that hangs up is noticed. */
void request_suspend(struct request *rq);
void request_resume(struct request *rq);

#endif
