/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_REQUEST_H
#define REGISTRY_REQUEST_H

/*
 * One request to a registry, made alone over the client's one connection: of lists, logins,
 * deletions and uploads.  Credentials go to the registry itself, never to another host.
 */

#include "registry/client.h"

#define REQUEST_HEADER_MAX 8192u

struct request {
	struct client *c;
	const char *method, *url;
	const char *purpose; /* "list 'team/web' at reg.example", for messages */
	const char *wanted;  /* the answer's header to keep, in small letters; NULL: none */
	bool uploads;	     /* a part of an upload: the answer's body is for messages alone */
	int from_fd;	     /* the request's body; -1: none */
	const char *type;    /* of that body, if it is a document; NULL: a blob */
	uint64_t size, sent;
	int to_fd; /* where the body of a good answer goes; -1: nowhere */
	uint64_t max, have;
	/* the answer */
	CURL *easy;
	CURLcode code;
	int64_t moved_ns; /* when bytes came or went last */
	uint64_t moved;
	bool was_silent; /* the registry has had everything, and said nothing */
	long status;
	curl_off_t asked_s;
	struct challenge challenge;
	char header[REQUEST_HEADER_MAX]; /* "": the answer has none */
	struct answer_text body;
	int problem; /* -errno of writing the body */
};
void request_done(struct request *q);
DEFINE_AUTO_DONE(request, request_done)

/* Send it, and answer challenges.  0, whatever the answer to the last try is; or -errno. */
int request_try(struct request *q, struct mvm_error *err);

/* Send it until its answer is more than a failure for a moment.  Returns as request_try(). */
int request_send(struct request *q, struct mvm_error *err);

/* Was it a failure for a moment?  Then pause, and return true: another try may help.  tries: how
 * many there were. */
bool request_pause(const struct request *q, unsigned tries);

/* Is this the answer?  Any other may be judged. */
bool request_got(const struct request *q, long status);

/* Report a failure that the registry answered: -EACCES, -EBUSY, -EFBIG, -ENOENT (not of an upload),
 * -EHOSTUNREACH, -EPROTO, -EREMOTEIO. */
int request_judge(const struct request *q, struct mvm_error *err);

/* How long no byte may come or go, of an upload at this point. */
int64_t request_patience_s(const struct request *q);

/* "cannot PURPOSE: WHY" */
int request_fail(const struct request *q, int code, const char *why, struct mvm_error *err);

#endif
