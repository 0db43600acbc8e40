/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_METRICS_H
#define SERVICE_METRICS_H

/*
 * Numbers for Prometheus, at GET /metrics.
 *
 * Counters and histograms begin with mvmd.  They count all starts in the data folder, whoever asked
 * for them: mvmd follows the events.  No series has an instance's name, so their number is bounded:
 * by kinds, states, stages, and templates with a pool.
 *
 * The loop only, except metrics_text().
 * Source: Prometheus' text exposition format 0.0.4.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "route.h"

/* ---- histograms ---- */

#define HISTOGRAM_BUCKETS 15u

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* by upper bound, the last without one */
	uint64_t n;
	double sum_s;
};

void histogram_add(struct histogram *h, double seconds);

/* Add its lines; labels: "a=\"b\"" or "".  The metric's HELP and TYPE come before. */
void histogram_text(const struct histogram *h, const char *name, const char *labels,
		    struct strbuf *b);

/* ---- the text's lines ---- */

void metrics_head(struct strbuf *b, const char *name, const char *type, const char *help);

/* A label's value, with what the format escapes escaped. */
void metrics_label(struct strbuf *b, const char *value);

/* ---- mvmd's metrics ---- */

#define METRICS_STAGES_MAX  16u
#define METRICS_REASONS_MAX 16u
#define METRICS_NAME_MAX    32u

struct metrics {
	/* starts of instances, by kind */
	struct {
		uint64_t count;
		struct histogram seconds;
	} pool, restored, booted;
	struct {
		char name[METRICS_NAME_MAX];
		struct histogram seconds;
	} stages[METRICS_STAGES_MAX];
	size_t n_stages;
	struct {
		char name[METRICS_NAME_MAX];
		uint64_t count;
	} reasons[METRICS_REASONS_MAX]; /* why instances have booted */
	size_t n_reasons;
	uint64_t ended[2]; /* of instances; ended: without and with a failure */
	/* HTTP */
	uint64_t requests[6]; /* by status / 100 */
	uint64_t refused_token, refused_scope, refused_rate, refused_limit;
	struct histogram request_seconds;
	int64_t started_at; /* seconds since 1970 */
};

/* Count a start from the instance's JSON. */
void metrics_start(struct metrics *m, const char *instance_json);

void metrics_request(struct metrics *m, unsigned status, double seconds);

/* What metrics_text() needs of the loop's side, copied there. */
struct metrics_now {
	struct metrics metrics;
	unsigned requests, connections, waiting[WORK_CLASSES], running[WORK_CLASSES];
	uint64_t operations_running;
};

/* Write it all.  On a worker: it reads the data folder and /proc. */
int metrics_text(const struct metrics_now *now, struct mvm *mvm, const char *data_dir,
		 struct strbuf *b, struct mvm_error *err);

#endif
