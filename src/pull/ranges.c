/* SPDX-License-Identifier: Apache-2.0 */
/* Fetches parts of an artifact's blobs into one file, where an interrupted pull leaves them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pull/pull_priv.h"

_Static_assert(PULL_RANGES_MAX <= SESSION_BLOBS_MAX, "one call fetches them");

int pull_take_turn(struct pull *p, const struct mvm_digest *manifest, struct mvm_error *err)
{
	if (p->turn.fd >= 0)
		return 0;
	digest_hex(manifest, p->artifact);
	return pull_await_turn(p, p->artifact, "an artifact that is being pulled", &p->turn, err);
}

int pull_try_turn(struct pull *p, const struct mvm_digest *manifest, struct mvm_error *err)
{
	digest_hex(manifest, p->artifact);
	int r = turn_take(p->store, p->artifact, "pull", &p->turn, NULL);
	if (r == -EBUSY)
		return 0;
	return r < 0 ? mvm_error_set(err, r, "cannot lock '%s': %s", p->name, strerror(-r)) : 1;
}

int pull_ranges_open(struct pull *p, struct mvm_error *err)
{
	return pull_open_beginning(p, p->artifact, err);
}

void pull_ranges_drop(struct pull *p)
{
	int pulls = store_dir(p->store, STORE_PULLS);
	if (pulls >= 0)
		unlinkat(pulls, p->artifact, 0); /* or the next prune */
}

/* The blobs of ranges, for a session. */
static void list_ranges(const struct chunk_index *index, const struct chunk_range *v, size_t n,
			int fd, struct session_blob *ret)
{
	for (size_t i = 0; i < n; i++) {
		const struct index_part *part = &index->parts[v[i].part];
		ret[i] = (struct session_blob){ .digest = part->digest,
						.size = part->bytes,
						.fd = fd,
						.part_from = v[i].from,
						.part_bytes = v[i].bytes,
						.at = v[i].packed_at };
	}
}

struct ranges_call {
	struct session_blob blobs[PULL_RANGES_MAX];
	size_t n;
	struct progress_step *step;
};

static int get_ranges(struct session *s, void *arg, struct mvm_error *err)
{
	const struct ranges_call *call = arg;
	return session_blobs(s, call->blobs, call->n, call->step, err);
}

int pull_ranges(struct pull *p, const struct chunk_index *index, const struct chunk_ranges *ranges,
		int fd, struct progress_step *step, struct mvm_error *err)
{
	AUTO_FREE struct ranges_call *call = calloc(1, sizeof(*call));
	char limit[24];

	if (!call)
		return mvm_error_oom(err);
	if (ranges->bytes > p->max_bytes) {
		str_bytes(p->max_bytes, limit, sizeof(limit));
		int r = mvm_error_set(err, -EFBIG, "the blobs of '%s' take more than %s", p->name,
				      limit);
		return mvm_error_reason(err, r, "image-too-large", NULL);
	}
	call->step = step;
	list_ranges(index, ranges->v, ranges->n, fd, call->blobs);
	call->n = ranges->n;
	int r = pull_ask(p, get_ranges, call, err);
	session_done(&p->session); /* it could still write to the file that we judge now */
	return store_mend(p->store, r, err);
}

/* ---- while the files are used already ---- */

int pull_line_begin(struct pull *p, struct session *line, const struct chunk_index *index,
		    const struct chunk_range *v, size_t n, int fd, struct mvm_error *err)
{
	AUTO_FREE struct session_blob *blobs = calloc(n + 1, sizeof(*blobs));
	int r = 0;

	if (!blobs)
		return mvm_error_oom(err);
	if (line->sock < 0)
		r = session_open(store_path(p->store), p->hosts.v[p->host], p->ref.path, false,
				 p->progress, line, err);
	list_ranges(index, v, n, fd, blobs);
	return r < 0 ? r : session_blobs_begin(line, blobs, n, err);
}
