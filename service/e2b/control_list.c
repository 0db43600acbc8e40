/* SPDX-License-Identifier: Apache-2.0 */
/* The control API's list of sandboxes, with its filters and pages. */
#include <errno.h>
#include <math.h>
#include <mvm/instance.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "codec/json.h"
#include "e2b/e2b.h"
#include "request.h"
#include "server.h"

#define PAGE_MAX 100

/* Does the metadata have all pairs of the query, which is URL-encoded once more? */
static bool has_metadata(const json_t *doc, const char *query)
{
	AUTO_FREE char *copy = strdup(query ? query : "");
	const json_t *metadata = json_object_get(doc, "metadata");
	char *rest = copy;
	for (char *pair; copy && (pair = strsep(&rest, "&"));) {
		if (!*pair)
			continue;
		for (char *p = pair; *p; p++)
			*p = *p == '+' ? ' ' : *p;
		char *value = pair + strcspn(pair, "=");
		if (*value)
			*value++ = '\0';
		/* each was escaped before the pairs were */
		if (percent_decode(pair) < 0 || percent_decode(value) < 0)
			return false;
		const char *own = sandbox_text(metadata, pair);
		if (!own || strcmp(own, value) != 0)
			return false;
	}
	return true;
}

static bool wanted(const struct request *rq, const json_t *row)
{
	const char *states = request_query(rq, "state");
	const char *template_id = request_query(rq, "template");
	const char *after = request_query(rq, "startedAfter");
	int64_t after_s = INT64_MIN, started_s = 0;
	if (template_id && *template_id &&
	    strcmp(template_id, sandbox_text(row, "templateID")) != 0)
		return false;
	if (after && clock_parse(after, &after_s) == 0 &&
	    clock_parse(sandbox_text(row, "startedAt"), &started_s) == 0 && started_s < after_s)
		return false;
	const char *state = sandbox_text(row, "state");
	return (!states || !*states || strstr(states, state)) &&
	       has_metadata(row, request_query(rq, "metadata"));
}

/* The place of a sandbox in the list. */
struct place {
	double started_s;
	const char *id;
};

static struct place place_of(const json_t *doc)
{
	return (struct place){ json_number_value(json_object_get(doc, "startedAt")),
			       sandbox_text(doc, "id") };
}

static int compare(const struct place *x, const struct place *y)
{
	if (x->started_s != y->started_s)
		return x->started_s < y->started_s ? 1 : -1;
	return strcmp(x->id, y->id);
}

static int by_start(const void *a, const void *b)
{
	const struct place x = place_of(*(const json_t *const *)a);
	const struct place y = place_of(*(const json_t *const *)b);
	return compare(&x, &y);
}

/* nextToken is "STARTED_ID" of the last page's last sandbox, which may have ended since.  Returns
 * 1, or 0 without one. */
static int read_token(const struct request *rq, struct place *ret, struct mvm_error *err)
{
	const char *text = request_query(rq, "nextToken");
	char *end;
	if (!text || !*text)
		return 0;
	ret->started_s = strtod(text, &end);
	if (end == text || *end != '_' || !isfinite(ret->started_s))
		return mvm_error_set(err, -EINVAL, "'nextToken' is no page's");
	ret->id = end + 1;
	return 1;
}

/* rq->own: all documents. */
static int list(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	json_t *all = rq->own, *rows = json_array();
	size_t n = json_array_size(all);
	const char *order = request_query(rq, "order");
	uint64_t limit = PAGE_MAX;
	bool asc = order && strcmp(order, "asc") == 0, has_after = false;
	struct place after = { .id = "" };
	const json_t *last = NULL;
	int r = request_query_u64(rq, "limit", 1, PAGE_MAX, &limit, err);
	if (r == 0)
		r = read_token(rq, &after, err);
	has_after = r > 0;
	r = r > 0 ? 0 : r;
	AUTO_FREE json_t **sorted = calloc(n + 1, sizeof(*sorted));

	if (!sorted || !rows)
		r = mvm_error_oom(err);
	for (size_t i = 0; r == 0 && i < n; i++)
		sorted[i] = json_array_get(all, i);
	if (r == 0)
		qsort(sorted, n, sizeof(*sorted), by_start);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const json_t *doc = sorted[asc ? n - 1 - i : i];
		const struct place place = place_of(doc);
		struct mvm_instance_info *info = NULL;
		int d = has_after ? compare(&place, &after) : 0;
		if (has_after && (asc ? d >= 0 : d <= 0))
			continue;
		if (control_look(rq->server->e2b, mvm, doc, &info, NULL) < 0)
			continue;
		AUTO_JSON json_t *row = control_info(doc, info, false);
		mvm_instance_info_free(info);
		if (!wanted(rq, row))
			continue;
		if (json_array_size(rows) == limit) {
			const struct place l = place_of(last);
			rq->next = str_printf("%.17g_%s", l.started_s, l.id);
			break;
		}
		json_array_append(rows, row);
		last = doc;
	}
	if (r < 0) {
		json_decref(rows);
		return r;
	}
	return request_answer(rq, 200, rows, err);
}

int control_list(struct request *rq, struct mvm_error *err)
{
	struct e2b *e = NULL;
	int r = e2b_of(rq->server, &e, err);
	if (r < 0)
		return r;
	json_t *all = json_array();
	for (struct sandbox *s = e->sandboxes; s; s = s->next)
		json_array_append_new(all, sandbox_copy(s));
	rq->own = all;
	rq->own_free = (void (*)(void *))json_decref;
	return request_work(rq, WORK_READ, list, err);
}
