/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "codec/json.h"

/* Upper bounds in seconds.  A restore takes about 0.01 to 0.1, a boot 1 to 10. */
static const double bounds[HISTOGRAM_BUCKETS] = { 0.001, 0.0025, 0.005, 0.01, 0.025,
						  0.05,	 0.1,	 0.25,	0.5,  1,
						  2.5,	 5,	 10,	30,   60 };

void histogram_add(struct histogram *h, double seconds)
{
	size_t i = 0;
	while (i < HISTOGRAM_BUCKETS && seconds > bounds[i])
		i++;
	h->counts[i]++;
	h->n++;
	h->sum_s += seconds;
}

void histogram_text(const struct histogram *h, const char *name, const char *labels,
		    struct strbuf *b)
{
	const char *comma = *labels ? "," : "";
	uint64_t sum = 0;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		sum += h->counts[i];
		strbuf_addf(b, "%s_bucket{%s%sle=\"%g\"} %ju\n", name, labels, comma, bounds[i],
			    (uintmax_t)sum);
	}
	strbuf_addf(b, "%s_bucket{%s%sle=\"+Inf\"} %ju\n", name, labels, comma, (uintmax_t)h->n);
	const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
	strbuf_addf(b, "%s_sum%s%s%s %.9g\n", name, open, labels, close, h->sum_s);
	strbuf_addf(b, "%s_count%s%s%s %ju\n", name, open, labels, close, (uintmax_t)h->n);
}

void metrics_head(struct strbuf *b, const char *name, const char *type, const char *help)
{
	strbuf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_label(struct strbuf *b, const char *value)
{
	for (const char *s = value; *s; s++) {
		if (*s == '\n')
			strbuf_adds(b, "\\n");
		else if (*s == '"' || *s == '\\')
			strbuf_addf(b, "\\%c", *s);
		else
			strbuf_add(b, s, 1);
	}
}

/* ---- counting ---- */

/* How long each stage of a start took.  The record has the times since the start began. */
static double count_stages(struct metrics *m, json_t *stages)
{
	const char *name;
	json_t *value;
	double before = 0;

	json_object_foreach(stages, name, value)
	{
		const double at = (double)json_integer_value(value) / (double)NS_PER_S;
		size_t i = 0;
		while (i < m->n_stages && !str_eq(m->stages[i].name, name))
			i++;
		if (i == m->n_stages && i < METRICS_STAGES_MAX) {
			snprintf(m->stages[i].name, METRICS_NAME_MAX, "%s", name);
			m->n_stages++;
		}
		if (i < METRICS_STAGES_MAX)
			histogram_add(&m->stages[i].seconds, at > before ? at - before : 0);
		before = at > before ? at : before;
	}
	return before;
}

/* A reason is a sentence with values in it.  The words before the first value tell its kind, and
 * only so many kinds are told apart. */
static void count_reason(struct metrics *m, const char *reason)
{
	char kind[METRICS_NAME_MAX];
	size_t i = 0;

	snprintf(kind, sizeof(kind), "%.*s", (int)strcspn(reason, "0123456789'(:,;"), reason);
	for (size_t n = strlen(kind); n > 0 && kind[n - 1] == ' '; n--)
		kind[n - 1] = '\0';
	while (i < m->n_reasons && !str_eq(m->reasons[i].name, kind))
		i++;
	if (i == METRICS_REASONS_MAX - 1 && i == m->n_reasons)
		snprintf(kind, sizeof(kind), "other");
	if (i == METRICS_REASONS_MAX)
		i = METRICS_REASONS_MAX - 1;
	if (i == m->n_reasons) {
		memcpy(m->reasons[i].name, kind, sizeof(kind));
		m->n_reasons++;
	}
	m->reasons[i].count++;
}

void metrics_start(struct metrics *m, const char *instance_json)
{
	AUTO_JSON json_t *o = json_loads(instance_json, 0, NULL);
	const char *start = json_string_value(json_object_get(o, "start"));
	const char *reason = json_string_value(json_object_get(o, "reason"));
	const double seconds = count_stages(m, json_object_get(o, "stages_ns"));

	if (json_is_true(json_object_get(o, "from_pool"))) {
		m->pool.count++;
		histogram_add(&m->pool.seconds, seconds);
	} else if (str_eq(start, "restore")) {
		m->restored.count++;
		histogram_add(&m->restored.seconds, seconds);
	} else {
		m->booted.count++;
		histogram_add(&m->booted.seconds, seconds);
		count_reason(m, reason ? reason : "cold start requested");
	}
}

void metrics_request(struct metrics *m, unsigned status, double seconds)
{
	m->requests[status / 100 < 6 ? status / 100 : 0]++;
	histogram_add(&m->request_seconds, seconds);
}
