/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_ROUTE_H
#define SERVICE_ROUTE_H

/*
 * Which function answers which request.
 *
 * Each folder of handlers exports one table that ends with an empty entry; route.c lists the
 *tables. To add a handler: write an entry, its function, and its part of service/openapi.yaml.
 *
 *	static int list_things(struct request *rq, struct mvm *mvm, struct mvm_error *err)
 *	...
 *	const struct route things_routes[] = {
 *		{ "GET", "/v1/things", SCOPE_READ, .work = list_things },
 *		{ "POST", "/v1/things/{name}/paint", SCOPE_ADMIN, .work = paint,
 *		  .operation = "thing.paint", .body = true },
 *		{ 0 },
 *	};
 *
 * A pattern is made of segments.  "{name}" takes one segment, decoded and not empty; a last "*"
 *takes the rest of the path as the client sent it, which may be empty.  An entry that comes first
 *wins.
 *
 * An entry has either work or handle:
 *
 *   work    runs on a worker thread (worker.h) and may block.  It reads the request (request.h says
 *           which functions may be used there), leaves its answer with request_answer() and returns
 *           0, or fills err and returns -errno.
 *   handle  runs on the loop and must not block.  It either replies at once (request_reply() and
 *           others) or arranges that something replies later, and returns 0; or it fills err and
 *           returns -errno.  It may pass slow parts to request_work().
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <stdbool.h>
#include <stddef.h>

struct request;

/* What a client's token must allow.  Each includes the ones before it. */
enum scope {
	SCOPE_NONE,  /* for everybody who can connect: the version, the health check */
	SCOPE_READ,  /* look */
	SCOPE_EXEC,  /* start, use and end instances: commands, files, ports */
	SCOPE_ADMIN, /* templates, kernels, pools, networks of instances */
};

/* The threads that run a route's work.  One kind must not keep another from running. */
enum work_class {
	WORK_READ,  /* short: what reads the disk */
	WORK_GUEST, /* asks a guest, which may leave its answer out until the time is over */
	WORK_START, /* what starts, stops or changes one instance */
	WORK_BUILD, /* minutes: builds, pulls, pushes, snapshots */
	WORK_CLASSES,
};

typedef int (*work_fn)(struct request *rq, struct mvm *mvm, struct mvm_error *err);

struct route {
	const char *method, *pattern;
	enum scope scope;
	work_fn work;
	int (*handle)(struct request *rq, struct mvm_error *err);

	/* The work is an operation (operation.h): it is listed, and a client may leave it running.
	 * NULL: it is not.  Else its kind for people and programs: "instance.start". */
	const char *operation;
	enum work_class class;

	/* Before anything is queued or accepted, work is called on the loop with mvm NULL, to check
	 * the request: it reads what it needs from it, and returns at once, 0 or a failure. */
	bool checks;

	/* The request's body: none (false), or a JSON object of up to body_max bytes (0: 1 MiB). An
	 * empty body is an empty object, or with needs_body a mistake. */
	bool body, needs_body;
	size_t body_max;

	/*
	 * What the request needs may be missing yet, such as a VM that sleeps.  prepare (may be
	 * NULL) is called once the head has come.  It returns 0, or 1 when something calls, or has
	 * called, request_go_on() or gives the reply; until then nothing more is read.
	 */
	int (*prepare)(struct request *rq, struct mvm_error *err);

	/*
	 * A body of any size and type, taken piece by piece on the loop in place of `body`.  begin
	 * (may be NULL) is called before the first piece; upload takes *len bytes at most and sets
	 * *len to how many it took.  If it took fewer, it is called again with the rest after
	 * request_more(). handle is called after the last piece.  A failure of either is the reply.
	 */
	int (*begin)(struct request *rq, struct mvm_error *err);
	int (*upload)(struct request *rq, const char *data, size_t *len, struct mvm_error *err);

	/* Authorization and X-API-KEY may be for a guest: a token that mvmd does not know, and a
	 * session of the console, count nothing. */
	bool for_guest;

	bool raw_query; /* request_query() has nothing: the query is passed on as it is */

	/* Reply to a failure in another shape than this API's envelope; NULL: the envelope. */
	void (*fail)(struct request *rq, unsigned status, const struct mvm_error *err);

	/* Its work's answer is the whole reply, without the envelope; a list's next page is in the
	 * header X-Next-Token. */
	bool bare;
};

#define ROUTE_ARGS_MAX 4

/* What a pattern took from a path. */
struct route_match {
	char *args[ROUTE_ARGS_MAX]; /* decoded, in the pattern's order; owned */
	const char *rest;	    /* in the path; NULL: the pattern has no "*" */
};
void route_match_done(struct route_match *m);

/* Does a path fit a pattern?  route_match_done() *ret, also if not. */
bool route_matches(const char *pattern, const char *path, struct route_match *ret);

/*
 * Find the entry for a request.
 *
 *   path         as the client sent it, without the query
 *   ret_allowed  when no entry has this method: the methods of the path, "GET, PUT"; else unchanged
 *
 * Returns the entry; NULL with *ret_allowed empty when the path is unknown.  HEAD finds GET.
 */
struct strbuf;
const struct route *route_find(const char *method, const char *path, struct route_match *ret,
			       struct strbuf *ret_allowed);

/* All tables, NULL-terminated: for the check that openapi.yaml has every route of /v1. */
extern const struct route *const route_tables[];

/* Decode %XX in place.  -EINVAL for a broken escape and for an escaped NUL. */
int percent_decode(char *s);

#endif
