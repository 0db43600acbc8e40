/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/upload.h"

#include <errno.h>
#include <string.h>

#include "registry/request.h"

static char *url_of(const struct client *c, const char *kind, const char *name)
{
	return str_printf("%s/v2/%s/%s/%s", c->target.base, c->target.path, kind, name);
}

static char *purpose_of(const struct client *c)
{
	return str_printf("push to %s/%s", c->target.host, c->target.path);
}

int upload_has(struct client *c, const char *digest, struct mvm_error *err)
{
	AUTO_FREE char *url = url_of(c, "blobs", digest), *purpose = purpose_of(c);
	AUTO_DONE(request) q = { .c = c,
				 .method = "HEAD",
				 .url = url,
				 .purpose = purpose,
				 .uploads = true,
				 .from_fd = -1,
				 .to_fd = -1 };

	if (!url || !purpose)
		return mvm_error_oom(err);
	int r = request_send(&q, err);
	if (r < 0 || request_got(&q, 404))
		return r;
	return request_got(&q, 200) ? 1 : request_judge(&q, err);
}

/* Where the blob goes: the answer to the POST, relative or not, and the digest. */
static char *upload_url(const char *base, const char *location, const char *digest)
{
	AUTO_FREE char *query = str_printf("digest=%s", digest);
	CURLU *u = curl_url();
	char *url = NULL, *copy = NULL;

	if (u && query && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_QUERY, query, CURLU_APPENDQUERY) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK)
		copy = strdup(url);
	curl_free(url);
	curl_url_cleanup(u);
	return copy;
}

/* One try, from start on.  1: done; 0: the registry's answer is in q; -errno: no use. */
static int try_blob(struct request *q, const char *start, const char *digest, int fd,
		    struct mvm_error *err)
{
	q->method = "POST";
	q->url = start;
	q->wanted = "location";
	q->from_fd = -1;
	int r = request_try(q, err);
	if (r < 0 || !request_got(q, 202))
		return r;
	AUTO_FREE char *url = upload_url(start, q->header, digest);
	if (!url)
		return request_fail(q, -EPROTO, "it does not say where to upload to", err);
	q->method = "PUT";
	q->url = url;
	q->from_fd = fd;
	r = request_try(q, err);
	q->url = start;
	return r < 0 ? r : request_got(q, 201) || request_got(q, 204);
}

int upload_blob(struct client *c, const char *digest, int fd, uint64_t size, struct mvm_error *err)
{
	AUTO_FREE char *start = url_of(c, "blobs/uploads", ""), *purpose = purpose_of(c);
	AUTO_DONE(request) q = { .c = c,
				 .purpose = purpose,
				 .uploads = true,
				 .size = size,
				 .from_fd = -1,
				 .to_fd = -1 };
	int r = 0;

	if (!start || !purpose)
		return mvm_error_oom(err);
	for (unsigned tries = 1; r == 0; tries++) {
		r = try_blob(&q, start, digest, fd, err);
		if (r == 0 && !request_pause(&q, tries))
			r = request_judge(&q, err);
	}
	if (r > 0)
		c->bytes += size;
	return r < 0 ? r : 0;
}

int upload_manifest(struct client *c, const char *reference, const char *type, int fd,
		    uint64_t size, struct mvm_error *err)
{
	AUTO_FREE char *url = url_of(c, "manifests", reference), *purpose = purpose_of(c);
	AUTO_DONE(request) q = { .c = c,
				 .method = "PUT",
				 .url = url,
				 .purpose = purpose,
				 .uploads = true,
				 .type = type,
				 .from_fd = fd,
				 .size = size,
				 .to_fd = -1 };

	if (!url || !purpose)
		return mvm_error_oom(err);
	int r = request_send(&q, err);
	if (r < 0 || request_got(&q, 201) || request_got(&q, 200))
		return r;
	return request_judge(&q, err);
}
