/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/api.h"

#include <errno.h>
#include <string.h>

#include "registry/request.h"

int api_login(struct client *c, struct mvm_error *err)
{
	AUTO_FREE char *url = str_printf("%s/v2/", c->target.base);
	AUTO_FREE char *purpose = str_printf("log in at %s", c->target.host);
	AUTO_DONE(request) q = {
		.c = c, .method = "GET", .url = url, .purpose = purpose, .from_fd = -1, .to_fd = -1
	};

	if (!url || !purpose)
		return mvm_error_oom(err);
	int r = request_send(&q, err);
	if (r == 0 && request_got(&q, 200))
		return c->tokens > 0;
	if (r == 0)
		r = request_judge(&q, err);
	if (r == -EACCES) /* the user is here, and needs no hint to log in */
		mvm_error_set(err, r, "%s refuses this user name or password", c->target.host);
	return r;
}

/* The target of rel="next" in a Link header, as a path at the registry; NULL: none. */
static char *next_page(const struct request *q)
{
	const char *from = strchr(q->header, '<'), *to = from ? strchr(from, '>') : NULL;
	char *path = NULL, *query = NULL, *next = NULL;
	CURLU *u = curl_url();

	if (!to || !u || (!strstr(to, "rel=\"next\"") && !strstr(to, "rel=next"))) {
		curl_url_cleanup(u);
		return NULL;
	}
	AUTO_FREE char *target = strndup(from + 1, (size_t)(to - from - 1));
	if (target && curl_url_set(u, CURLUPART_URL, q->url, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, target, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
		curl_url_get(u, CURLUPART_QUERY, &query, 0); /* may be missing */
		next = str_printf("%s%s%s", path, query ? "?" : "", query ? query : "");
	}
	curl_free(path);
	curl_free(query);
	curl_url_cleanup(u);
	return next;
}

int api_list(struct client *c, const char *what, int fd, uint64_t max, char **ret_next,
	     struct mvm_error *err)
{
	const struct target *to = &c->target;
	AUTO_FREE char *url = what[0] == '/' ? str_printf("%s%s", to->base, what)
					     : str_printf("%s/v2/%s/%s", to->base, to->path, what);
	AUTO_FREE char *purpose = str_printf("list '%s' at %s", to->path, to->host);
	AUTO_DONE(request) q = { .c = c,
				 .method = "GET",
				 .url = url,
				 .purpose = purpose,
				 .wanted = "link",
				 .to_fd = fd,
				 .max = max,
				 .from_fd = -1 };

	if (!url || !purpose)
		return mvm_error_oom(err);
	int r = request_send(&q, err);
	if (r < 0 || request_got(&q, 404))
		return r;
	if (!request_got(&q, 200))
		return request_judge(&q, err);
	*ret_next = next_page(&q);
	return 1;
}

int api_delete(struct client *c, const char *digest, struct mvm_error *err)
{
	const struct target *to = &c->target;
	AUTO_FREE char *url = str_printf("%s/v2/%s/manifests/%s", to->base, to->path, digest);
	AUTO_FREE char *purpose = str_printf("delete '%s@%.19s' at %s", to->path, digest, to->host);
	AUTO_DONE(request) q = { .c = c,
				 .method = "DELETE",
				 .url = url,
				 .purpose = purpose,
				 .from_fd = -1,
				 .to_fd = -1 };

	if (!url || !purpose)
		return mvm_error_oom(err);
	int r = request_send(&q, err);
	if (r < 0 || request_got(&q, 202) || request_got(&q, 200))
		return r;
	if (!request_got(&q, 405))
		return request_judge(&q, err);
	r = request_fail(&q, -EOPNOTSUPP, "it deletes nothing (HTTP status 405)", err);
	return mvm_error_hint(err, r, "its operator must allow deletions");
}
